// Curves with axes, as SVG.

import {draw, figure, make, number, short} from './format.js';

/** Round figures from low to high, about `count` of them. */
export function ticks(low, high, count) {
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 5].find((n) => n * power >= 0.7 * rough) ?? 10);
  const found = [];
  for (let n = Math.ceil(low / step - 1e-9); n * step <= high + step * 1e-9; n++)
    found.push(n * step + 0);  // And no -0.
  return found;
}

/**
 * Draws a chart into an element, and again when the window changes.
 *
 * content: {label, line: {x, y}, points: [[x, y, low, high]], isSmall, height}
 */
export function chart(host, content) {
  host.content = content;
  if (!host.observer) {
    host.observer = new ResizeObserver(() => render(host));
    host.observer.observe(host);
  }
  render(host);
}

function render(host) {
  const {content} = host;
  const width = host.clientWidth;
  if (!width) return;
  const {line, points = [], isSmall, height, label} = content;
  if (!line.x.length && !points.length)
    return host.replaceChildren(make('p', {class: 'faint'}, 'nothing yet'));
  const scale = makeScale(content, width);
  const {x, y, frame} = scale;
  const last = line.y.length ? `, last ${figure(line.y.at(-1))}` : '';
  const picture = draw('svg', {width, height, viewBox: `0 0 ${width} ${height}`,
    role: 'img', 'aria-label': `${label} by frames${last}`});
  picture.append(...axes(scale, isSmall));
  if (line.x.length)
    picture.append(draw('path', {class: 'line', d: line.x.map((value, i) =>
      `${i ? 'L' : 'M'}${x(value).toFixed(1)} ${y(line.y[i]).toFixed(1)}`)
      .join('')}));
  if (line.x.length === 1)
    picture.append(draw('circle', {
      class: 'dot', cx: x(line.x[0]), cy: y(line.y[0]), r: 2.5}));
  for (const [at, mean, low, high] of points)
    picture.append(draw('g', {class: 'evaluation'},
      draw('path', {d: low === null || high === null ? '' :
        `M${x(at)} ${y(low)}V${y(high)}m-3 0h6M${x(at) - 3} ${y(low)}h6`}),
      draw('circle', {cx: x(at), cy: y(mean), r: 3.5})));
  const mark = draw('g', {class: 'mark'});
  picture.append(mark);
  const told = make('output', {class: 'told'});
  host.replaceChildren(picture, told);
  picture.addEventListener('pointermove', (event) => {
    const at = event.clientX - picture.getBoundingClientRect().left;
    const near = nearest(content, (value) => Math.abs(x(value) - at));
    mark.replaceChildren(
      draw('path', {d: `M${x(near.x)} ${frame.top}V${frame.bottom}`}),
      draw('circle', {cx: x(near.x), cy: y(near.y), r: 3.5}));
    told.textContent = `${near.text} at frame ${number(near.x)}`;
  });
  picture.addEventListener('pointerleave', () => {
    mark.replaceChildren();
    told.textContent = '';
  });
}

/** From values to places. */
function makeScale({line, points = [], isSmall, height}, width) {
  const xs = [...line.x, ...points.map((point) => point[0])];
  const ys = [...line.y, ...points.flatMap((point) => point.slice(1))]
    .filter((value) => value !== null);
  let low = ys.reduce((a, b) => Math.min(a, b), Infinity);
  let high = ys.reduce((a, b) => Math.max(a, b), -Infinity);
  if (high - low <= 1e-9 * Math.max(Math.abs(low), Math.abs(high))) [low, high] = [low - (Math.abs(low) || 1) / 2,
                                   high + (Math.abs(high) || 1) / 2];
  const room = (high - low) * 0.06;
  [low, high] = [low - room, high + room];
  const right = xs.reduce((a, b) => Math.max(a, b), 1);
  const frame = {left: isSmall ? 44 : 58, right: width - (isSmall ? 16 : 36),
                 top: 8, bottom: height - (isSmall ? 20 : 34)};
  return {
    frame, low, high, right,
    x: (value) => frame.left + (frame.right - frame.left) * value / right,
    y: (value) => frame.bottom
      - (frame.bottom - frame.top) * (value - low) / (high - low),
  };
}

function axes({frame, low, high, right, x, y}, isSmall) {
  const drawn = [];
  for (const value of ticks(low, high, isSmall ? 2 : 4))
    drawn.push(
      draw('path', {class: 'grid', d: `M${frame.left} ${y(value)}H${frame.right}`}),
      draw('text', {x: frame.left - 6, y: y(value) + 4, 'text-anchor': 'end'},
        isSmall ? short(value) : number(value, digits(high - low))));
  const room = (frame.right - frame.left) / (isSmall ? 70 : 110);
  for (const value of ticks(0, right, Math.max(room, 1)))
    drawn.push(
      draw('path', {class: 'tick', d: `M${x(value)} ${frame.bottom}v4`}),
      draw('text', {x: x(value), y: frame.bottom + 15, 'text-anchor': 'middle'},
        isSmall ? short(value) : number(value)));
  drawn.push(draw('path', {class: 'axis', d:
    `M${frame.left} ${frame.bottom}H${frame.right}`}));
  if (!isSmall)
    drawn.push(draw('text', {x: frame.right, y: frame.bottom + 29,
                             'text-anchor': 'end'}, 'frames'));
  return drawn;
}

/** Behind the point, so that ticks differ. */
function digits(range) {
  return Math.min(Math.max(Math.ceil(1 - Math.log10(range)), 0), 6);
}

/** The value of curve or points that is nearest to the pointer. */
function nearest({line, points = []}, distance) {
  const found = [
    ...line.x.map((x, i) => ({x, y: line.y[i], text: figure(line.y[i])})),
    ...points.map(([x, y, low, high]) => ({x, y, text: `evaluation ${figure(y)}`
      + (low === null || high === null ? ''
         : `, 95% interval ${figure(low)} to ${figure(high)}`)})),
  ];
  return found.reduce((best, each) =>
    distance(each.x) <= distance(best.x) ? each : best);
}
