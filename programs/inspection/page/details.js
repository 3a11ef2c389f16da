// A role that was opened: its nodes in a table, and the log of one of them.
'use strict';

const LOG_MILLISECONDS = 2000;
const RESTARTS = 'environment_restarts';

let roles = [];
let shownLog = '';  // Node whose log is in the page.
let isPaused = false;
let logTimer = 0;

/** What the address names: {role, node}, each empty where there is none. */
function opened() {
  let name = '';
  try {
    name = decodeURIComponent(location.hash.slice(1));
  } catch { /* An address that was typed wrong. */ }
  const role = roles.find((each) => each.role === name || each.nodes.includes(name));
  return {role, node: role && role.role !== name ? name : ''};
}

/** Shows the panel of what the address names, or hides it. */
function openDetails() {
  const {role, node} = opened();
  const panel = byId('details');
  const wasHidden = panel.hidden;
  panel.hidden = !role;
  if (!role) return openLog('');
  setText(byId('details-title'), role.title);
  setText(byId('details-about'), role.about);
  if (wasHidden) {
    panel.scrollIntoView({block: 'nearest'});
    byId('details-title').focus({preventScroll: true});
  }
  openLog(node);
}

/** Shows new figures of the nodes. */
function updateDetails(nodes) {
  const {role} = opened();
  if (!role) return;
  const focused = document.activeElement?.dataset?.node;
  fillTable('nodes', ['node', 'states', 'now', 'share and time of a call',
    'figures', 'cores', 'memory', 'restarts', 'host, process'],
    role.nodes.map((name) => row(name, nodes[name])));
  [...byId('nodes').querySelectorAll('a')]
    .find((link) => link.dataset.node === focused)?.focus();
}

function row(name, node) {
  const link = make('a', {href: `#${encodeURIComponent(name)}`,
    'data-node': name, title: 'Show its log'}, name);
  if (!node) return [link];
  const bar = draw('svg', {class: 'states', width: 120, height: 10},
    ...segments(node.states, 0, 0, 120, 10));
  const state = node.state
    ? `${STATES[node.state]} ${percent(node.states[node.state])}` : UNKNOWN;
  return [
    link,
    make('span', {class: 'faint'}, node.state ? bar : '', state),
    node.is_silent ? make('b', {class: 'failure'}, 'silent')
      : words(node.activity ?? UNKNOWN),
    list(activities(node)), list(figures(node)), number(node.cores, 2),
    megabytes(node.rss_bytes), number(node.counts[RESTARTS]),
    [node.host, node.pid].filter(Boolean).join(' ') || UNKNOWN,
  ];
}

/** [activity, 'share, ms'], largest first. */
function activities(node) {
  return Object.entries(node.activities)
    .filter(([, share]) => share >= 0.005)
    .sort((a, b) => b[1] - a[1])
    .map(([name, share]) => {
      const each = node.milliseconds[name];
      return [name, percent(share) + (each === undefined ? '' : `, ${figure(each)} ms`)];
    });
}

/** What is counted, and what was told last; calls of activities are above. */
function figures(node) {
  return [
    ...Object.entries(node.rates)
      .filter(([name]) => !(name in node.activities) && name !== RESTARTS)
      .map(([name, rate]) => [name, `${figure(rate)}/s`]),
    ...Object.entries(node.gauges).map(([name, value]) => [name, figure(value)]),
  ];
}

function list(entries) {
  return make('dl', {}, ...entries.flatMap(([name, value]) =>
    [make('dt', {}, words(name)), make('dd', {}, value)]));
}

function openLog(node) {
  byId('log').hidden = !node;
  if (node === shownLog) return;
  shownLog = node;
  byId('log-text').textContent = '';
  setText(byId('log-title'), `Log of ${node}`);
  readLog();
  if (node) byId('log').scrollIntoView({block: 'nearest'});
}

/** Reads the log now and every two seconds. */
async function readLog() {
  clearTimeout(logTimer);
  const node = shownLog;
  if (!node || isPaused) return;
  const log = await read('log', node);
  if (node !== shownLog) return;
  if (log && !isPaused) {
    const text = byId('log-text');
    const isAtEnd = text.scrollTop + text.clientHeight >= text.scrollHeight - 8;
    setText(text, log.text || '(empty)');
    setText(byId('log-note'), log.is_whole ? log.name : `the end of ${log.name}`);
    if (isAtEnd) text.scrollTop = text.scrollHeight;
  }
  if (!exported) logTimer = setTimeout(readLog, LOG_MILLISECONDS);
}

function startDetails() {
  const button = byId('log-pause');
  button.hidden = exported !== null;
  button.addEventListener('click', () => {
    isPaused = !isPaused;
    button.setAttribute('aria-pressed', isPaused);
    button.textContent = isPaused ? 'Go on' : 'Pause';
    readLog();
  });
  document.addEventListener('keydown', (event) => {
    if (event.key === 'Escape' && opened().role) location.hash = '';
  });
}
