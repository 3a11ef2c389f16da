// Read the data of the page, format numbers, build elements.
'use strict';

const SVG = 'http://www.w3.org/2000/svg';
const UNKNOWN = '–';
// State of a node -> its text in the legend.
const STATES = {busy: 'busy', waiting: 'waiting for input',
                blocked: 'blocked by a full queue', idle: 'idle'};

// A report contains its data; a dashboard requests it from the server.
const exported = JSON.parse(byId('exported')?.textContent ?? 'null');
let shownRun = exported && Object.keys(exported.runs)[0];

/** Return a part of the run's data; null if it is not available. */
async function read(part, name = '') {
  if (exported) return exported.runs[shownRun][part][name] ?? null;
  try {
    const answer = await fetch(`${part}?${new URLSearchParams({name})}`);
    return answer.ok ? await answer.json() : null;
  } catch {
    return null;  // The server is gone; the next refresh says so.
  }
}

/** Format with thousands separators and fixed decimals. */
function number(value, digits = 0) {
  return typeof value !== 'number' ? UNKNOWN : value.toLocaleString('en-US', {
    minimumFractionDigits: digits, maximumFractionDigits: digits});
}

/** Format with about three significant digits: 0.0123, 1.23, 123, 12,345. */
function rounded(value) {
  if (typeof value !== 'number') return UNKNOWN;
  const size = Math.abs(value);
  if (size && size < 0.0001) return value.toExponential(1);
  const digits = size >= 100 || !size ? 0 : size >= 10 ? 1 : size >= 0.01 ? 2 : 4;
  return number(value, digits);
}

/** Format as 1.2M or 35k, for small axes. */
function short(value) {
  return value.toLocaleString('en-US', {
    notation: 'compact', maximumSignificantDigits: 3});
}

function percent(share) {
  return typeof share !== 'number' ? UNKNOWN : `${Math.round(100 * share)}%`;
}

/** Format as 0:01:40 or 27:00:00. */
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
    : `${rounded(low)} to ${rounded(high)}`;
}

/** Convert 'waiting_for_queue' to 'waiting for queue'. */
function words(name) {
  return name.replaceAll('_', ' ');
}

/** Return [name, value] of the largest value. */
function largest(shares) {
  return Object.entries(shares).sort((a, b) => b[1] - a[1])[0];
}

function byId(id) {
  return document.getElementById(id);
}

/** Make an HTML element; children are elements or text, never markup. */
function make(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

/** Make an SVG element. */
function draw(name, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes))
    if (value !== null) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** Set a text only if it differs, which keeps the user's selection. */
function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Fill a table; the first cell of a row is its heading. */
function fillTable(id, headings, rows) {
  const head = headings.map((text) => make('th', {scope: 'col'}, text));
  byId(id).replaceChildren(
    make('thead', {}, make('tr', {}, ...head)),
    make('tbody', {}, ...rows.map(([first, ...cells]) => make('tr', {},
      make('th', {scope: 'row'}, first),
      ...cells.map((cell) => make('td', {}, cell))))));
}

/** Set the options of a select; hide it if there is only one. */
function offer(id, names, value, title) {
  const select = byId(id).querySelector('select');
  byId(id).hidden = names.length < 2;
  if ([...select.options].map((each) => each.value).join('\n') !== names.join('\n'))
    select.replaceChildren(
      ...names.map((name) => make('option', {value: name}, title(name))));
  select.value = names.includes(value) ? value : names[0] ?? '';
}

/** Draw shares of states side by side on an empty track. */
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
