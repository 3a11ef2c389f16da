// Show the graph: the state of each role, and the rate along each edge.
'use strict';

const INSET = 14;
const BAR = {y: 59, height: 9};

let drawing = null;  // The SVG element in the page.
let drawn = null;  // Its source.

/** Replace the drawing if it has changed, and set `roles`. */
async function readGraph() {
  const found = await read('graph');
  if (!found) return false;
  if (found.svg === drawn) return true;
  drawn = found.svg;
  roles = found.roles;
  drawing = null;
  byId('graph').replaceChildren();
  if (found.svg) {
    const parsed = new DOMParser().parseFromString(found.svg, 'image/svg+xml');
    drawing = document.importNode(parsed.documentElement, true);
    drawing.querySelector(':scope > rect')?.remove();  // The background.
    byId('graph').append(drawing);
    for (const box of boxes()) {
      [...box.querySelectorAll('rect')].at(-1).classList.add('front');
      box.append(draw('g', {class: 'live'}));
    }
  }
  return true;
}

function boxes() {
  return drawing ? drawing.querySelectorAll('a[data-role]') : [];
}

/** Show new statistics. */
function updateGraph(state) {
  for (const box of boxes()) {
    const {role} = box.dataset;
    updateBox(box, state.roles[role], role === opened().role?.role);
  }
  for (const edge of drawing?.querySelectorAll('g[data-edge]') ?? []) {
    const kind = edge.dataset.edge.split(' ')[1];
    const rate = state.edges[edge.dataset.edge];
    const text = typeof rate === 'number' ? `${kind} ${rounded(rate)}/s` : kind;
    setText(edge.querySelector('text'), text);
  }
}

function updateBox(box, role, isOpened) {
  const texts = box.querySelectorAll('text');
  const {state = '', first, second = '', bars = []} = describe(role);
  box.setAttribute('class', `${state} ${bars.length ? '' : 'bare'} `
    + (isOpened ? 'opened' : ''));
  setText(texts[1], first);
  setText(texts[3], second);
  box.setAttribute('aria-label', `${texts[0].textContent}: ${first}, ${second}`);
  const front = box.querySelector('rect.front');
  const [left, top, wide] = ['x', 'y', 'width'].map(
    (name) => Number(front.getAttribute(name)));
  const height = BAR.height / bars.length - (bars.length > 1 ? 1 : 0);
  box.querySelector('g.live').replaceChildren(...bars.flatMap((bar, index) =>
    segments(bar, left + INSET, top + BAR.y + index * (height + 1),
             wide - 2 * INSET, height)));
}

/** Return the content of a box: two lines, bars and the main state. */
function describe(role) {
  if (!role) return {first: 'no data yet'};
  const machine = [
    role.cores === null ? '' : `${number(role.cores, 2)} cores`,
    role.rss_bytes === null ? '' : megabytes(role.rss_bytes),
  ].filter(Boolean).join(' · ');
  const tables = Object.entries(role.tables);
  if (tables.length) {
    const held = tables.map(([name, table]) => (tables.length > 1 ? `${name} ` : '')
      + `${number(table.size)} of ${number(table.capacity)}`);
    return {first: held.join(', '), second: machine,
            bars: tables.map(([, t]) => ({busy: t.size / t.capacity}))};
  }
  const main = largest(role.states);
  if (!main) return {first: machine || 'no data yet'};
  const [state] = main;
  const {minimum, median, maximum} = role.spreads[state];
  const [from, to] = [minimum, maximum].map((share) => Math.round(100 * share));
  const [activity, share] = largest(role.activities) ?? ['', 0];
  return {
    state: role.silent ? 'silent' : state,
    first: `${state} ${percent(median)}` + (from === to ? '' : ` (${from}–${to})`),
    second: role.silent ? `${role.silent} silent`
      : `${words(activity)} ${percent(share)}`,
    bars: [role.states],
  };
}
