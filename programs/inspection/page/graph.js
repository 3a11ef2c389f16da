// The live graph: what each box is at, and how much flows along each edge.

import {
  STATES, STATES_MEAN, byId, draw, figure, largest, make, megabytes, number,
  percent, segments, setText, words} from './format.js';

const INSET = 14;
const BAR = {y: 59, height: 9};

let drawing = null;  // The picture in the page.

/** Puts a picture in the place of the one before. */
export function show(text) {
  byId('graph').replaceChildren();
  drawing = null;
  if (!text) return;
  const parsed = new DOMParser().parseFromString(text, 'image/svg+xml');
  drawing = document.importNode(parsed.documentElement, true);
  drawing.querySelector(':scope > rect')?.remove();  // The background.
  byId('graph').append(drawing);
  for (const box of drawing.querySelectorAll('a[data-role]')) {
    const rects = box.querySelectorAll('rect');
    rects[rects.length - 1].classList.add('front');
    box.append(draw('g', {class: 'live'}));
  }
  crop();
  if (byId('legend').childElementCount) return;
  for (const [state, name] of Object.entries(STATES))
    byId('legend').append(make('li', {title: STATES_MEAN[state]},
      make('i', {class: `swatch ${state}`}), name));
}

/** Takes away the empty margins. */
function crop() {
  const {x, y, width, height} = drawing.getBBox();
  const margin = 4;
  const size = [width + 2 * margin, height + 2 * margin];
  drawing.setAttribute('viewBox', [x - margin, y - margin, ...size].join(' '));
  drawing.setAttribute('width', size[0]);
  drawing.setAttribute('height', size[1]);
}

/** Shows new figures. */
export function update(state, opened) {
  if (!drawing) return;
  for (const box of drawing.querySelectorAll('a[data-role]')) {
    const role = box.dataset.role;
    box.classList.toggle('opened', role === opened);
    updateBox(box, state.roles[role]);
  }
  for (const edge of drawing.querySelectorAll('g[data-edge]')) {
    const kind = edge.dataset.edge.split(' ')[1];
    const rate = state.edges[edge.dataset.edge];
    edge.classList.toggle('flows', rate > 0);
    const text = rate === undefined ? kind : `${kind} ${figure(rate)}/s`;
    setText(edge.querySelector('text'), text);
  }
}

function updateBox(box, role) {
  const texts = box.querySelectorAll('text');
  const lines = role ? describe(role) : {first: 'no figures yet', second: ''};
  box.dataset.state = lines.state ?? '';
  box.classList.toggle('bare', !lines.bars);
  const {first, spread = ''} = lines;
  texts[1].replaceChildren(first, draw('tspan', {class: 'spread'}, spread));
  setText(texts[3], lines.second);
  box.setAttribute('aria-label',
    `${texts[0].textContent}: ${first}${spread}, ${lines.second}`);
  const front = box.querySelector('rect.front');
  const x = Number(front.getAttribute('x')) + INSET;
  const y = Number(front.getAttribute('y')) + BAR.y;
  const width = Number(front.getAttribute('width')) - 2 * INSET;
  const live = box.querySelector('g.live');
  live.replaceChildren(...(lines.bars ?? []).flatMap((bar, index, bars) => {
    const height = BAR.height / bars.length - (bars.length > 1 ? 1 : 0);
    const top = y + index * (BAR.height / bars.length);
    return bar.fill === undefined
      ? segments(bar, x, top, width, height)
      : [draw('rect', {class: 'track', x, y: top, width, height, rx: 2}),
         draw('rect', {class: 'fill', x, y: top, height, rx: 2,
                       width: width * Math.min(bar.fill, 1)})];
  }));
}

/** What a box says of its role: two lines, bars and the main state. */
function describe(role) {
  const machine = [
    role.cores === null ? '' : `${number(role.cores, 2)} cores`,
    role.rss_bytes === null ? '' : megabytes(role.rss_bytes),
  ].filter(Boolean).join(' · ');
  const tables = Object.entries(role.tables);
  if (tables.length) {
    const held = tables.map(([name, table]) => (tables.length > 1 ? `${name} ` : '')
      + `${number(table.size)} of ${number(table.capacity)}`);
    return {first: held.join(', '), second: machine,
            bars: tables.map(([, t]) => ({fill: t.size / t.capacity}))};
  }
  const main = largest(role.states);
  if (!main) return {first: machine || 'no figures yet', second: ''};
  const [state] = main;
  const spread = role.spreads[state];
  const [least, most] = [spread.least, spread.most].map(
    (value) => Math.round(100 * value));
  const ends = least === most ? '' : ` (${least}–${most})`;
  const [activity, of] = largest(role.activities) ?? ['', 0];
  const second = role.silent ? `${role.silent} silent`
    : `${words(activity)} ${percent(of)}`;
  return {first: `${STATES[state]} ${percent(spread.median)}`, spread: ends, second,
          state: role.silent ? 'silent' : state,
          bars: [role.states]};
}
