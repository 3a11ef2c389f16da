// Asks for the state once a second and shows it.

import * as details from './details.js';
import {byId, duration, make, number, figure, percent, setText} from './format.js';
import * as graph from './graph.js';
import * as panels from './panels.js';
import {fetchJson} from './requests.js';

const MILLISECONDS = 1000;

const READERS = {
  graph: readGraph,
  curves: panels.readCurves,
  evaluations: panels.readEvaluations,
  configuration: panels.readConfiguration,
};

let read = {};  // Part -> its version that the page shows.
let timer = 0;

async function readGraph() {
  const found = await fetchJson('graph');
  if (!found) return false;
  graph.show(found.svg);
  details.setRoles(found.roles);
  details.open();
  return true;
}

/** One round: the state, and the parts that have changed. */
async function look() {
  clearTimeout(timer);
  try {
    await lookOnce();
  } finally {
    clearTimeout(timer);
    timer = setTimeout(look, MILLISECONDS);
  }
}

async function lookOnce() {
  const {role} = details.opened();
  const state = await fetchJson('state', {role: role?.role ?? ''});
  byId('unreachable').hidden = state !== null;
  document.body.classList.toggle('stale', state === null);
  if (state === null) {
    read = {};  // What answers next may be another one.
  } else {
    for (const [part, version] of Object.entries(state.versions))
      if (read[part] !== version && await READERS[part]())
        read[part] = version;
    show(state);
  }
}

function show(state) {
  const {run} = state;
  setText(byId('level'), run.level || '–');
  setText(byId('directory'), run.directory);
  document.title = `${run.level} ${run.state}`;
  const pill = byId('state');
  setText(pill, run.seconds ? `${run.state} ${duration(run.seconds)}` : run.state);
  pill.dataset.state = run.state;
  const description = byId('description');
  const isBad = run.state === 'failed' || run.state === 'lost';
  description.hidden = !isBad;
  setText(description, run.state === 'lost'
    ? `Nothing was recorded for ${duration(run.age_seconds)}, and the run has `
      + 'not said how it ended: was it killed?'
    : run.description || '');
  showProgress(state.progress, run);
  showVerdict(state);
  graph.update(state, details.opened().role?.role);
  details.update(state.nodes);
}

function showProgress(progress, run) {
  const share = progress.total ? progress.frames / progress.total : 0;
  byId('bar').value = Math.min(share, 1);
  const isOver = !['starting', 'running'].includes(run.state);
  const entries = [
    ['frames', `${number(progress.frames)} of ${number(progress.total)}`
      + ` (${number(100 * Math.min(share, 1), share > 0 && share < 0.01 ? 2 : 0)}%)`],
    [isOver ? 'frames/s, mean' : 'frames/s', number(progress.frames_per_second)],
    ...(isOver ? [] : [['time left', duration(progress.seconds_left)]]),
    ['return', figure(progress.episode_return)],
  ];
  const numbers = byId('numbers');
  if (numbers.childElementCount !== entries.length)
    numbers.replaceChildren(...entries.map(() =>
      make('div', {}, make('dt'), make('dd'))));
  entries.forEach(([name, value], index) => {
    const [term, text] = numbers.children[index].children;
    setText(term, name);
    setText(text, value);
  });
}

function showVerdict({verdict, warnings, figures, run}) {
  byId('judgement').dataset.side = verdict?.side ?? '';
  let text = verdict?.sentence;
  if (!text && !run.is_recorded)
    text = 'This run records nothing (--monitor=false).';
  if (!text)
    text = run.state === 'starting' ? 'The nodes are starting.'
      : 'Too little was recorded to say where the bottleneck is.';
  setText(byId('verdict'), text);
  const before = [...byId('warnings').children].map((item) => item.textContent);
  if (before.join('\n') !== warnings.join('\n'))
    byId('warnings').replaceChildren(
      ...warnings.map((warning) => make('li', {}, warning)));
  const isOver = !['starting', 'running'].includes(run.state);
  setText(byId('window'), !figures ? '' : (isOver ? 'over the whole run, '
    : `last ${number(figures.seconds)} s, `)
    + `${figures.cores} cores ${percent(figures.machine_busy)} busy`);
}

panels.start();
details.start();
window.addEventListener('hashchange', () => {
  details.open();
  look();
});
look();
