// Curves, evaluations and configuration: what is read when it has changed.
'use strict';

const SMALL = {
  frames_per_second: 'Frames a second',
  policy_lag_mean: 'Policy lag, learner steps',
  entropy: 'Entropy, nats',
  loss: 'Loss',
};
const NO_CURVE = {x: [], y: []};

const chosen = {level: '', evaluation: ''};

/** Reads and draws the curves; returns whether that went well. */
async function readCurves() {
  const curves = await read('curves', chosen.level);
  if (!curves) return false;
  offer('levels', curves.levels.length > 1 ? ['', ...curves.levels] : [''],
        chosen.level, (name) => name || 'all, their mean');
  setText(byId('returns-note'), curves.levels.includes(chosen.level)
    ? 'training, mean of the games of some seconds'
    : 'training, mean of the last 100 games');
  chart(byId('returns'), {label: 'return', lines: [curves.returns],
    points: curves.evaluations, height: 236});
  for (const [name, title] of Object.entries(SMALL))
    chart(byId(`small-${name}`), {label: title, isSmall: true, height: 90,
      lines: [curves.small[name] ?? NO_CURVE]});
  return true;
}

async function readEvaluations() {
  const found = await read('evaluations', chosen.evaluation);
  if (!found) return false;
  offer('evaluations', found.names.length ? ['', ...found.names] : [''],
        chosen.evaluation, (name) => name || 'the latest');
  const {content} = found;
  setText(byId('evaluation-note'), content
    ? `after ${number(content.trained_frames)} frames, `
      + `${content.greedy ? 'most likely' : 'sampled'} actions`
    : 'none yet');
  byId('evaluated').replaceChildren();
  if (content) showEvaluation(content.levels);
  return true;
}

function showEvaluation(levels) {
  const isScored = levels.some((row) => typeof row.human_normalised === 'number');
  const headings = ['level', 'episodes', 'mean return', '95% interval', 'min', 'max'];
  fillTable('evaluated', isScored ? [...headings, 'human %'] : headings,
    levels.map((row) => [
      row.level_name, number(row.episodes),
      `${figure(row.mean_return)} ± ${figure(row.standard_error)}`,
      interval(row.mean_return_low, row.mean_return_high),
      figure(row.min_return), figure(row.max_return),
      ...(isScored ? [number(row.human_normalised, 1)] : []),
    ]));
}

async function readConfiguration() {
  const settings = await read('configuration');
  if (!settings) return false;
  const changed = settings.filter(({origin}) => origin && origin !== 'default');
  setText(byId('configuration-note'), `${changed.length} settings are not at `
    + 'their default');
  const groups = [...new Set(settings.map((setting) => setting.group))];
  byId('configuration').replaceChildren(...groups.map((group) =>
    make('div', {}, make('h3', {}, group), make('dl', {}, ...settings
      .filter((setting) => setting.group === group)
      .flatMap(({name, value, origin = '', unit = '', help = ''}) => [
        make('dt', {class: origin, title: help}, words(name)),
        make('dd', {class: origin}, show(value),
          make('span', {class: 'faint'}, ` ${unit}`),
          ['', 'default'].includes(origin) ? ''
            : make('i', {class: 'origin'}, origin)),
      ])))));
  return true;
}

function show(value) {
  if (Number.isInteger(value)) return number(value);
  return value === '' || value === undefined ? UNKNOWN : String(value);
}

function startPanels() {
  byId('levels').addEventListener('change', (event) => {
    chosen.level = event.target.value;
    readCurves();
  });
  byId('evaluations').addEventListener('change', (event) => {
    chosen.evaluation = event.target.value;
    readEvaluations();
  });
  for (const [name, title] of Object.entries(SMALL))
    byId('small').append(make('figure', {}, make('figcaption', {class: 'faint'}, title),
      make('div', {class: 'chart', id: `small-${name}`})));
}
