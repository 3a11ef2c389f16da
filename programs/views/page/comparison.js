// Compare the runs of a report: curves over seeds, scores, what differs.
'use strict';

const NUM_COLORS = 6;

let comparedLevel = '';

function startComparison() {
  if (!exported) return;
  const {comparison: {runs, groups, curves, differing, scores, method}} = exported;
  byId('comparison').hidden = false;
  byId('over-runs').hidden = runs.length < 2;
  const made = exported.made.slice(0, 16).replace('T', ' ');
  setText(byId('comparison-title'), `Report of ${made}`);
  setText(byId('method'), method);
  fillTable('compared', ['run', 'group', 'seed', 'state', 'frames', 'verdict'],
    runs.map((run) => [
      make('a', {href: '#', 'data-run': run.name}, run.name), run.group,
      String(run.seed ?? UNKNOWN), run.state,
      `${number(run.frames)} of ${number(run.total)}`, run.verdict ?? UNKNOWN]));
  byId('compared').addEventListener('click', (event) => {
    if (event.target.dataset.run) showRun(event.target.dataset.run);
  });
  byId('runs').addEventListener('change', (event) => showRun(event.target.value));
  byId('over-levels').addEventListener('change', (event) => {
    comparedLevel = event.target.value;
    showIntervals(groups, curves);
  });
  showIntervals(groups, curves);
  fillTable('differing', ['', ...runs.map((run) => run.name)],
    differing.map(({name, values}) => [words(name), ...values.map(String)]));
  showScores(scores);
}

/** Show another run in the rest of the page. */
function showRun(name) {
  shownRun = name;
  chosen.level = chosen.evaluation = '';
  refresh();
}

function color(group, groups) {
  return `color-${groups.indexOf(group) % NUM_COLORS}`;
}

function showIntervals(groups, curves) {
  offer('over-levels', Object.keys(curves), comparedLevel, (name) => name);
  const found = curves[byId('over-levels').querySelector('select').value] ?? [];
  byId('groups').replaceChildren(...groups.map((group) => make('li', {},
    make('i', {class: `key ${color(group, groups)}`}), group)));
  chart(byId('intervals'), {label: 'return', height: 280, lines: [
    ...found.flatMap(({group, lines}) => lines.map((line) =>
      ({...line, kind: `thin ${color(group, groups)}`}))),
    ...found.map((curve) =>
      ({...curve, name: curve.group, kind: color(curve.group, groups)})),
  ]});
}

function showScores(scores) {
  const isScored = scores.some((score) => score.human_normalised !== null);
  fillTable('scores', ['', 'level', 'evaluation', 'frames', 'episodes',
    'mean return', '95% interval', ...(isScored ? ['human %'] : [])],
    scores.map((score) => [
      score.run ?? `${score.group}, ${score.runs} runs`, score.level_name,
      score.evaluation, number(score.frames), number(score.episodes),
      rounded(score.mean_return), interval(score.mean_return_low, score.mean_return_high),
      ...(isScored ? [number(score.human_normalised, 1)] : [])]));
}
