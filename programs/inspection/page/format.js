// Figures as text, and elements of the page.

const SVG = 'http://www.w3.org/2000/svg';
const UNKNOWN = '–';

export const STATES = {
  busy: 'busy',
  waiting: 'waiting',
  blocked: 'back-pressured',
  idle: 'idle',
};

export const STATES_MEAN = {
  busy: 'at its own work',
  waiting: 'for what comes before it',
  blocked: 'by what comes after it',
  idle: 'nothing to do',
};

/** With thousands separated and as many digits behind the point. */
export function number(value, digits = 0) {
  if (value === null || value === undefined) return UNKNOWN;
  return value.toLocaleString('en-US', {
    minimumFractionDigits: digits,
    maximumFractionDigits: digits,
  });
}

/** With about three digits: 0.0123, 1.23, 123, 12,345. */
export function figure(value) {
  if (value === null || value === undefined) return UNKNOWN;
  const size = Math.abs(value);
  if (size && size < 0.0001) return value.toExponential(1);
  const digits = size >= 100 || !size ? 0 : size >= 10 ? 1 : size >= 0.01 ? 2 : 4;
  return number(value, digits);
}

/** 1.2M, 35k: for axes with little room. */
export function short(value) {
  return value.toLocaleString('en-US', {
    notation: 'compact', maximumSignificantDigits: 3});
}

export function percent(share) {
  return share === null || share === undefined
    ? UNKNOWN : `${Math.round(100 * share)}%`;
}

/** 0:01:40, 27:00:00. */
export function duration(seconds) {
  if (seconds === null || seconds === undefined) return UNKNOWN;
  const whole = Math.max(Math.round(seconds), 0);
  const two = (n) => String(n).padStart(2, '0');
  const minutes = Math.floor(whole / 60);
  return `${Math.floor(minutes / 60)}:${two(minutes % 60)}:${two(whole % 60)}`;
}

export function megabytes(bytes) {
  return bytes === null || bytes === undefined
    ? UNKNOWN : `${number(bytes / 1e6)} MB`;
}

/** 'waiting for queue' of 'waiting_for_queue'. */
export function words(name) {
  return name.replaceAll('_', ' ');
}

/** [name, value] of the largest. */
export function largest(shares) {
  return Object.entries(shares).reduce(
    (best, each) => (!best || each[1] > best[1] ? each : best), null);
}

export function byId(id) {
  return document.getElementById(id);
}

/** An element of HTML; children are elements or text, never markup. */
export function make(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

/** An element of SVG. */
export function draw(name, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes))
    if (value !== null && value !== undefined) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** Sets a text only where it differs, so that selections stay. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** A stacked bar of shares of states. */
export function stateBar(states, width, height) {
  const described = Object.keys(STATES)
    .filter((state) => states[state] >= 0.005)
    .map((state) => `${STATES[state]} ${percent(states[state])}`).join(', ');
  const bar = draw('svg', {
    class: 'states', viewBox: `0 0 ${width} ${height}`, width, height,
    role: 'img', 'aria-label': described}, draw('title', {}, described));
  bar.append(...segments(states, 0, 0, width, height));
  return bar;
}

/** Rectangles of shares of states, side by side, on an empty track. */
export function segments(states, x, y, width, height) {
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
