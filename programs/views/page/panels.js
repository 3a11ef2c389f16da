// Show curves, evaluations and configuration, read when they have changed.
'use strict';

const SMALL = {
  frames_per_second: 'Frames per second',
  policy_lag_mean: 'Policy lag (learner steps)',
  entropy: 'Entropy (nats)',
  loss: 'Loss',
};
const NO_CURVE = {x: [], y: []};

const chosen = {level: '', evaluation: ''};

/** Read and draw the curves; return true if they were available. */
async function readCurves() {
  const curves = await read('curves', chosen.level);
  if (!curves) return false;
  offer('levels', curves.levels.length > 1 ? ['', ...curves.levels] : [''],
        chosen.level, (name) => name || 'all (mean)');
  setText(byId('returns-note'), curves.levels.includes(chosen.level)
    ? 'training: mean over recent episodes'
    : 'training: mean over the last 100 episodes');
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
        chosen.evaluation, (name) => name || 'latest');
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
  const isScored = levels.some((level) => typeof level.human_normalised === 'number');
  const headings = ['level', 'episodes', 'mean return', '95% interval', 'minimum', 'maximum'];
  fillTable('evaluated', isScored ? [...headings, 'human %'] : headings,
    levels.map((level) => [
      level.level_name, number(level.episodes),
      `${rounded(level.mean_return)} ± ${rounded(level.standard_error)}`,
      interval(level.mean_return_low, level.mean_return_high),
      rounded(level.min_return), rounded(level.max_return),
      ...(isScored ? [number(level.human_normalised, 1)] : []),
    ]));
}

async function readConfiguration() {
  const settings = await read('configuration');
  if (!settings) return false;
  const changed = settings.filter(({origin}) => origin && origin !== 'default');
  setText(byId('configuration-note'), `${changed.length} settings differ from `
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
