// Where the page's content is from, figures as text, elements of the page.
'use strict';

const SVG = 'http://www.w3.org/2000/svg';
const UNKNOWN = '–';
const STATES = {
  busy: 'busy', waiting: 'waiting', blocked: 'back-pressured', idle: 'idle'};

// A report holds all that it shows; a dashboard asks its server.
const exported = JSON.parse(byId('exported')?.textContent ?? 'null');
let shownRun = exported && Object.keys(exported.runs)[0];

/** A part of what is known of the run; null where it cannot be had. */
async function read(part, name = '') {
  if (exported) return exported.runs[shownRun][part][name] ?? null;
  try {
    const answer = await fetch(`${part}?${new URLSearchParams({name})}`);
    return answer.ok ? await answer.json() : null;
  } catch {
    return null;  // The server is gone; the next round tells.
  }
}

/** With thousands separated and as many digits behind the point. */
function number(value, digits = 0) {
  return typeof value !== 'number' ? UNKNOWN : value.toLocaleString('en-US', {
    minimumFractionDigits: digits, maximumFractionDigits: digits});
}

/** With about three digits: 0.0123, 1.23, 123, 12,345. */
function figure(value) {
  if (typeof value !== 'number') return UNKNOWN;
  const size = Math.abs(value);
  if (size && size < 0.0001) return value.toExponential(1);
  const digits = size >= 100 || !size ? 0 : size >= 10 ? 1 : size >= 0.01 ? 2 : 4;
  return number(value, digits);
}

/** 1.2M, 35k: for axes with little room. */
function short(value) {
  return value.toLocaleString('en-US', {
    notation: 'compact', maximumSignificantDigits: 3});
}

function percent(share) {
  return typeof share !== 'number' ? UNKNOWN : `${Math.round(100 * share)}%`;
}

/** 0:01:40, 27:00:00. */
function duration(seconds) {
  if (typeof seconds !== 'number') return UNKNOWN;
  const whole = Math.max(Math.round(seconds), 0);
  const two = (n) => String(n).padStart(2, '0');
  const minutes = Math.floor(whole / 60);
  return `${Math.floor(minutes / 60)}:${two(minutes % 60)}:${two(whole % 60)}`;
}

function megabytes(bytes) {
  return typeof bytes !== 'number' ? UNKNOWN : `${number(bytes / 1e6)} MB`;
}

function interval(low, high) {
  return typeof low !== 'number' || typeof high !== 'number' ? ''
    : `${figure(low)} to ${figure(high)}`;
}

/** 'waiting for queue' of 'waiting_for_queue'. */
function words(name) {
  return name.replaceAll('_', ' ');
}

/** [name, value] of the largest. */
function largest(shares) {
  return Object.entries(shares).sort((a, b) => b[1] - a[1])[0];
}

function byId(id) {
  return document.getElementById(id);
}

/** An element of HTML; children are elements or text, never markup. */
function make(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

/** An element of SVG. */
function draw(name, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes))
    if (value !== null) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** Sets a text only where it differs, so that selections stay. */
function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Fills a table; the first cell of a row is its heading. */
function fillTable(id, headings, rows) {
  const head = headings.map((text) => make('th', {scope: 'col'}, text));
  byId(id).replaceChildren(
    make('thead', {}, make('tr', {}, ...head)),
    make('tbody', {}, ...rows.map(([first, ...cells]) => make('tr', {},
      make('th', {scope: 'row'}, first),
      ...cells.map((cell) => make('td', {}, cell))))));
}

/** Options of a choice, kept where they are the same; hidden if but one. */
function offer(id, names, value, title) {
  const select = byId(id).querySelector('select');
  byId(id).hidden = names.length < 2;
  if ([...select.options].map((each) => each.value).join('\n') !== names.join('\n'))
    select.replaceChildren(
      ...names.map((name) => make('option', {value: name}, title(name))));
  select.value = names.includes(value) ? value : names[0] ?? '';
}

/** Rectangles of shares of states, side by side, on an empty track. */
function segments(states, x, y, width, height) {
  const drawn = [draw('rect', {class: 'track', x, y, width, height, rx: 2})];
  let from = x;
  for (const state of Object.keys(STATES)) {
    const long = width * Math.min(states[state] ?? 0, 1);
    if (long > 0)
      drawn.push(draw('rect', {
        class: `segment ${state}`, x: from, y, width: long, height}));
    from += long;
  }
  return drawn;
}
