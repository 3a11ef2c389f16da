// Draw curves with axes as SVG.
'use strict';

/** Return about `count` round numbers from low to high. */
function ticks(low, high, count) {
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 5].find((n) => n * power >= 0.7 * rough) ?? 10);
  const found = [];
  for (let n = Math.ceil(low / step - 1e-9); n * step <= high + step * 1e-9; n++)
    found.push(n * step + 0);  // And no -0.
  return found;
}

/**
 * Draw a chart into an element, and again whenever it is resized.
 *
 * content: {label, lines: [{x, y, low, high, kind, name}],
 *           points: [[x, y, low, high]], isSmall, height}
 */
function chart(host, content) {
  host.content = {points: [], ...content};
  if (!host.observer) {
    host.observer = new ResizeObserver(() => render(host));
    host.observer.observe(host);
  }
  render(host);
}

function render(host) {
  const {lines, points, isSmall, height, label} = host.content;
  const width = host.clientWidth;
  if (!width) return;
  if (!points.length && !lines.some((line) => line.x.length))
    return host.replaceChildren(make('p', {class: 'faint'}, 'no data yet'));
  const scale = makeScale(host.content, width);
  const {x, y, frame} = scale;
  const picture = draw('svg', {width, height, viewBox: `0 0 ${width} ${height}`,
    role: 'img', 'aria-label': `${label} by frames`});
  picture.append(...axes(scale, isSmall), ...lines.flatMap((l) => curve(l, scale)));
  for (const [at, mean, low, high] of points)
    picture.append(draw('g', {class: 'evaluation'},
      draw('path', {d: interval(low, high) &&
        `M${x(at)} ${y(low)}V${y(high)}m-3 0h6M${x(at) - 3} ${y(low)}h6`}),
      draw('circle', {cx: x(at), cy: y(mean), r: 3.5})));
  const mark = draw('g', {class: 'mark'});
  picture.append(mark);
  const readout = make('output', {class: 'readout'});
  host.replaceChildren(picture, readout);
  picture.addEventListener('pointermove', (event) => {
    const at = event.clientX - picture.getBoundingClientRect().left;
    const top = event.clientY - picture.getBoundingClientRect().top;
    const near = nearest(host.content, (each) =>
      Math.abs(x(each.x) - at) + 0.1 * Math.abs(y(each.y) - top));
    mark.replaceChildren(
      draw('path', {d: `M${x(near.x)} ${frame.top}V${frame.bottom}`}),
      draw('circle', {cx: x(near.x), cy: y(near.y), r: 3.5}));
    readout.textContent = `${near.text} at frame ${number(near.x)}`;
  });
  picture.addEventListener('pointerleave', () => {
    mark.replaceChildren();
    readout.textContent = '';
  });
}

/** Draw a line, over the area of its interval if it has one. */
function curve(line, {x, y}) {
  const kind = line.kind ?? '';
  const path = (values) => values.map((value, i) =>
    `${x(line.x[i]).toFixed(1)} ${y(value).toFixed(1)}`);
  const drawn = [];
  if (line.low)
    drawn.push(draw('path', {class: `area ${kind}`, d:
      `M${[...path(line.low), ...path(line.high).reverse()].join('L')}Z`}));
  if (line.x.length)
    drawn.push(draw('path', {class: `line ${kind}`, d: `M${path(line.y).join('L')}`}));
  return drawn;
}

/** Return functions from values to pixels, clipped to the frame. */
function makeScale({lines, points, isSmall, height}, width) {
  const xs = [...lines.flatMap((line) => line.x), ...points.map((point) => point[0])];
  const ys = [...lines.flatMap((line) => line.y),
              ...points.flatMap((point) => point.slice(1))]
    .filter((value) => typeof value === 'number');
  let low = ys.reduce((a, b) => Math.min(a, b), Infinity);
  let high = ys.reduce((a, b) => Math.max(a, b), -Infinity);
  const room = high - low > 1e-9 * Math.max(Math.abs(low), Math.abs(high))
    ? (high - low) * 0.06 : (Math.abs(low) || 1) / 2;
  [low, high] = [low - room, high + room];
  const right = xs.reduce((a, b) => Math.max(a, b), 1);
  const frame = {left: isSmall ? 44 : 58, right: width - (isSmall ? 16 : 36),
                 top: 8, bottom: height - (isSmall ? 20 : 34)};
  return {
    frame, low, high, right,
    x: (value) => frame.left + (frame.right - frame.left) * value / right,
    y: (value) => frame.bottom - (frame.bottom - frame.top)
      * (Math.min(Math.max(value, low), high) - low) / (high - low),
  };
}

function axes({frame, low, high, right, x, y}, isSmall) {
  const drawn = [];
  const digits = Math.min(Math.max(Math.ceil(1 - Math.log10(high - low)), 0), 6);
  for (const value of ticks(low, high, isSmall ? 2 : 4))
    drawn.push(
      draw('path', {class: 'grid', d: `M${frame.left} ${y(value)}H${frame.right}`}),
      draw('text', {x: frame.left - 6, y: y(value) + 4, 'text-anchor': 'end'},
        isSmall ? short(value) : number(value, digits)));
  const count = (frame.right - frame.left) / (isSmall ? 70 : 110);
  for (const value of ticks(0, right, Math.max(count, 1)))
    drawn.push(
      draw('path', {class: 'axis', d: `M${x(value)} ${frame.bottom}v4`}),
      draw('text', {x: x(value), y: frame.bottom + 15, 'text-anchor': 'middle'},
        isSmall ? short(value) : number(value)));
  drawn.push(draw('path', {class: 'axis', d:
    `M${frame.left} ${frame.bottom}H${frame.right}`}));
  if (!isSmall)
    drawn.push(draw('text', {x: frame.right, y: frame.bottom + 29,
                             'text-anchor': 'end'}, 'frames'));
  return drawn;
}

/** Return the value of a curve or point that is nearest to the pointer. */
function nearest({lines, points}, distance) {
  const found = [
    ...lines.flatMap(({x, y, name}) => x.map((at, i) => (
      {x: at, y: y[i], text: `${name ? `${name}: ` : ''}${rounded(y[i])}`}))),
    ...points.map(([x, y, low, high]) => ({x, y, text: `evaluation ${rounded(y)}`
      + (interval(low, high) && `, 95% interval ${interval(low, high)}`)})),
  ];
  return found.reduce((best, each) => distance(each) <= distance(best) ? each : best);
}
