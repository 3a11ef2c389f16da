// Refresh the page: once a second from a server, once from a report.
'use strict';

const MILLISECONDS = 1000;

let known = '';  // Version of the shown data, other than the state.
let timer = 0;

async function refresh() {
  clearTimeout(timer);
  try {
    await refreshOnce();
  } finally {
    clearTimeout(timer);
    if (!exported) timer = setTimeout(refresh, MILLISECONDS);
  }
}

/** Read the state, and the rest if its version has changed. */
async function refreshOnce() {
  const state = await read('state');
  byId('unreachable').hidden = state !== null;
  document.body.classList.toggle('stale', state === null);
  if (state === null) {
    known = '';  // Another server may answer next.
    return;
  }
  const readers = [readGraph, readCurves, readEvaluations, readConfiguration];
  if (known !== state.version
      && (await Promise.all(readers.map((each) => each()))).every(Boolean))
    known = state.version;
  showState(state);
  await updateLog();
}

function showState(state) {
  const {run} = state;
  setText(byId('level'), run.level || UNKNOWN);
  setText(byId('directory'), run.directory);
  document.title = `${run.level} ${run.state}`;
  const pill = byId('state');
  setText(pill, run.seconds ? `${run.state} ${duration(run.seconds)}` : run.state);
  pill.dataset.state = run.state;
  byId('description').hidden = !['failed', 'lost'].includes(run.state);
  setText(byId('description'), run.state !== 'lost' ? run.description
    : `No record for ${duration(run.age_seconds)}, and the run did not record `
      + 'how it ended: it was probably killed. The logs of its nodes may say more.');
  if (exported) offer('runs', Object.keys(exported.runs), shownRun, (name) => name);
  showProgress(state.progress, run);
  showVerdict(state);
  updateGraph(state);
  updateDetails(state.nodes);
}

function showProgress({frames, total, ...progress}, run) {
  const share = total ? Math.min(frames / total, 1) : 0;
  byId('bar').value = share;
  const entries = [
    ['frames', `${number(frames)} of ${number(total)}`
      + ` (${number(100 * share, share > 0 && share < 0.01 ? 2 : 0)}%)`],
    [run.is_over ? 'frames/s, mean' : 'frames/s', number(progress.frames_per_second)],
    ...(run.is_over ? [] : [['time left', duration(progress.seconds_left)]]),
    ['return', rounded(progress.episode_return)],
  ];
  byId('numbers').replaceChildren(...entries.map(([name, value]) =>
    make('div', {}, make('dt', {}, name), make('dd', {}, value))));
}

function showVerdict({verdict, warnings, statistics, run}) {
  byId('judgement').dataset.side = verdict?.side ?? '';
  setSentence(byId('verdict'), verdict ? verdict.sentence
    : !run.is_recorded ? 'No statistics: the run was started with --monitor=false.'
      : run.state === 'starting' ? 'The nodes are starting.'
        : 'No verdict: no data flowed between the nodes for long enough.');
  const before = [...byId('warnings').children].map((item) => item.textContent);
  if (before.join('\n') !== warnings.join('\n'))
    byId('warnings').replaceChildren(
      ...warnings.map((warning) => make('li', {}, warning)));
  setText(byId('window'), statistics ? (run.is_over ? 'over the whole run, '
    : `last ${number(statistics.seconds)} s, `)
    + `${statistics.cores} cores ${percent(statistics.machine_busy)} busy` : '');
}

/** Set a text; flags in it do not break across lines. */
function setSentence(element, text) {
  if (element.textContent === text) return;
  element.replaceChildren(...text.split(/(--\w+)/).map((part, index) =>
    index % 2 ? make('code', {}, part) : part));
}

for (const [state, name] of Object.entries(STATES))
  byId('legend').append(make('li', {}, make('i', {class: `swatch ${state}`}), name));
startComparison();
startPanels();
window.addEventListener('hashchange', refresh);
refresh();
