// Curves, evaluations and configuration: what is read when it has changed.

import {chart} from './chart.js';
import {byId, figure, make, number, setText, words} from './format.js';
import {fetchJson} from './requests.js';

const SMALL = {
  frames_per_second: 'Frames a second',
  policy_lag_mean: 'Policy lag, learner steps',
  entropy: 'Entropy, nats',
  loss: 'Loss',
};

const chosen = {level: '', evaluation: ''};

export function start() {
  byId('levels-select').addEventListener('change', (event) => {
    chosen.level = event.target.value;
    readCurves();
  });
  byId('evaluations-select').addEventListener('change', (event) => {
    chosen.evaluation = event.target.value;
    readEvaluations();
  });
  for (const [name, text] of [['line', ''],
                              ['point', 'evaluation with 95% interval']])
    byId('series').append(make('li', {}, make('i', {class: `key ${name}`}), text));
  for (const [name, title] of Object.entries(SMALL))
    byId('small').append(make('figure', {},
      make('figcaption', {}, title),
      make('div', {class: 'chart', id: `small-${name}`})));
}

/** Reads and draws the curves; returns whether that went well. */
export async function readCurves() {
  const curves = await fetchJson('curves', {level: chosen.level});
  if (!curves) return false;
  choose('levels', ['', ...curves.levels], chosen.level,
         (name) => name || 'all, their mean', curves.levels.length > 1);
  const line = byId('series').firstElementChild;
  setText(line.lastChild, curves.levels.includes(chosen.level)
    ? 'training, mean of the games of some seconds'
    : 'training, mean of the last 100 games');
  chart(byId('returns'), {label: 'return', line: curves.returns,
    points: curves.evaluations, height: 236});
  for (const [name, title] of Object.entries(SMALL))
    chart(byId(`small-${name}`), {label: title, isSmall: true, height: 90,
      line: curves.small[name] ?? {x: [], y: []}});
  return true;
}

/** Options of a choice, kept where they are the same. */
function choose(id, names, value, title, isShown) {
  byId(id).hidden = !isShown;
  const select = byId(`${id}-select`);
  const before = [...select.options].map((option) => option.value);
  if (before.join('\n') !== names.join('\n'))
    select.replaceChildren(
      ...names.map((name) => make('option', {value: name}, title(name))));
  select.value = names.includes(value) ? value : names[0] ?? '';
}

export async function readEvaluations() {
  const found = await fetchJson('evaluations', {name: chosen.evaluation});
  if (!found) return false;
  choose('evaluations', ['', ...found.names], chosen.evaluation,
         (name) => name || 'the latest', found.names.length > 1);
  const {content} = found;
  setText(byId('evaluation-note'), content
    ? `after ${number(content.trained_frames)} frames, `
      + `${content.greedy ? 'most likely' : 'sampled'} actions`
    : 'none yet');
  showEvaluation(content);
  showVideos(found);
  return true;
}

function showEvaluation(content) {
  const table = byId('evaluated');
  if (!content) return table.replaceChildren();
  const isScored = content.levels.some((row) => row.human_normalised !== null);
  const names = ['level', 'episodes', 'mean return', '95% interval', 'min',
                 'max', ...(isScored ? ['human %'] : [])];
  const rows = content.levels.map((row) => [
    row.level_name, number(row.episodes),
    `${figure(row.mean_return)} ± ${figure(row.standard_error)}`,
    `${figure(row.mean_return_low)} to ${figure(row.mean_return_high)}`,
    figure(row.min_return), figure(row.max_return),
    ...(isScored ? [number(row.human_normalised, 1)] : []),
  ]);
  table.replaceChildren(
    make('thead', {}, make('tr', {},
      ...names.map((name) => make('th', {scope: 'col'}, name)))),
    make('tbody', {}, ...rows.map(([level, ...cells]) => make('tr', {},
      make('th', {scope: 'row'}, level),
      ...cells.map((cell) => make('td', {}, cell))))));
}

/** Videos that play are left alone. */
function showVideos({name, videos}) {
  const key = JSON.stringify([name, videos]);
  const host = byId('videos');
  if (host.dataset.key === key) return;
  host.dataset.key = key;
  host.replaceChildren(...videos.map((file) => {
    const query = new URLSearchParams({evaluation: name, name: file});
    return make('figure', {},
      make('video', {src: `video?${query}`, controls: '', loop: '',
                     preload: 'metadata', 'aria-label': file}),
      make('figcaption', {}, file.replace(/\.mp4$/, '')));
  }));
}

export async function readConfiguration() {
  const settings = await fetchJson('configuration');
  if (!settings) return false;
  const changed = settings.filter((setting) => setting.origin !== 'default');
  setText(byId('configuration-note'), `${settings.length} settings, `
    + `${changed.length} not at their default`);
  const groups = [...new Set(settings.map((setting) => setting.group))];
  byId('configuration').replaceChildren(...groups.map((group) =>
    make('div', {}, make('h3', {}, group), make('dl', {}, ...settings
      .filter((setting) => setting.group === group)
      .flatMap(({name, value, origin, unit, help}) => [
        make('dt', {class: origin, title: help}, words(name)),
        make('dd', {class: origin}, show(value),
          unit ? make('span', {class: 'faint'}, ` ${unit}`) : '',
          origin === 'default' ? '' : make('i', {class: 'origin'}, origin)),
      ])))));
  return true;
}

function show(value) {
  if (typeof value === 'number' && Number.isInteger(value))
    return number(value);
  return value === '' ? '–' : String(value);
}
