// A role that was opened: its nodes in a table, and the log of one of them.

import {
  STATES, byId, figure, make, megabytes, number, percent, setText, stateBar,
  words} from './format.js';
import {fetchJson} from './requests.js';

const LOG_MILLISECONDS = 2000;
const RESTARTS = 'environment_restarts';

let roles = [];
let shownLog = null;  // Node whose log is in the page.
let isPaused = false;
let timer = 0;

function fromAddress() {
  try {
    return decodeURIComponent(location.hash.slice(1));
  } catch {
    return '';  // An address that was typed wrong.
  }
}

/** What the address names: {role, node}, each empty where there is none. */
export function opened() {
  const name = fromAddress();
  for (const role of roles) {
    if (role.role === name) return {role, node: ''};
    if (role.nodes.includes(name)) return {role, node: name};
  }
  return {role: null, node: ''};
}

/** Takes the roles of the graph. */
export function setRoles(found) {
  roles = found;
}

export function start() {
  byId('log-pause').addEventListener('click', () => {
    isPaused = !isPaused;
    byId('log-pause').setAttribute('aria-pressed', isPaused);
    byId('log-pause').textContent = isPaused ? 'Go on' : 'Pause';
    if (!isPaused) readLog();
  });
  document.addEventListener('keydown', (event) => {
    if (event.key === 'Escape' && opened().role) location.hash = '';
  });
}

/** Shows the panel of what the address names, or hides it. */
export function open() {
  const {role, node} = opened();
  const panel = byId('details');
  const wasHidden = panel.hidden;
  panel.hidden = !role;
  if (!role) return openLog('');
  setText(byId('details-title'), role.title);
  setText(byId('details-about'), role.about || role.runs);
  if (wasHidden) {
    panel.scrollIntoView({block: 'nearest'});
    byId('details-title').focus({preventScroll: true});
  }
  openLog(node);
}

/** Shows new figures of the nodes. */
export function update(nodes) {
  const {role, node} = opened();
  if (!role) return;
  const rows = role.nodes.map((name) => row(name, nodes[name], name === node));
  const head = make('tr', {}, ...[
    'node', 'states', 'now', 'share and time of a call', 'figures', 'cores',
    'memory', 'restarts', 'host, process',
  ].map((text) => make('th', {scope: 'col'}, text)));
  const focused = document.activeElement?.dataset?.node;
  byId('nodes').replaceChildren(make('thead', {}, head),
                                make('tbody', {}, ...rows));
  if (focused)
    [...byId('nodes').querySelectorAll('a')]
      .find((link) => link.dataset.node === focused)?.focus();
}

function row(name, node, isOpen) {
  const link = make('a', {href: `#${encodeURIComponent(name)}`,
    'data-node': name, 'aria-current': isOpen ? 'true' : null,
    title: 'Show its log'}, name);
  const cells = [make('th', {scope: 'row'}, link)];
  if (!node) return make('tr', {}, ...cells);
  const state = make('td', {});
  if (Object.keys(node.states).length)
    state.append(stateBar(node.states, 120, 10),
      make('span', {class: 'faint'}, `${STATES[node.state]} `
        + percent(node.states[node.state])));
  const now = make('td', {}, node.activity ? words(node.activity) : '–');
  if (node.is_silent) now.append(' ', make('b', {class: 'failure'}, 'silent'));
  const process = [node.host, node.process].filter(Boolean).join(' ');
  cells.push(
    state, now, list(activities(node)), list(figures(node)),
    make('td', {}, number(node.cores, 2)),
    make('td', {}, megabytes(node.rss_bytes)),
    make('td', {}, number(node.counts[RESTARTS])),
    make('td', {}, process || '–'));
  return make('tr', isOpen ? {class: 'open'} : {}, ...cells);
}

/** [activity, 'share, ms'], largest first. */
function activities(node) {
  return Object.entries(node.activities)
    .filter(([, share]) => share >= 0.005)
    .sort((a, b) => b[1] - a[1])
    .map(([name, share]) => {
      const each = node.milliseconds[name];
      const time = each === undefined ? '' : `, ${figure(each)} ms`;
      return [name, percent(share) + time];
    });
}

/** What is counted, and what was told last; calls of activities are above. */
function figures(node) {
  const counted = Object.entries(node.rates)
    .filter(([name]) => !(name in node.activities) && name !== RESTARTS)
    .map(([name, rate]) => [name, `${figure(rate)}/s`]);
  const told = Object.entries(node.gauges)
    .map(([name, value]) => [name, figure(value)]);
  return [...counted, ...told];
}

function list(entries) {
  return make('td', {}, make('dl', {}, ...entries.flatMap(([name, value]) =>
    [make('dt', {}, words(name)), make('dd', {}, value)])));
}

function openLog(node) {
  byId('log').hidden = !node;
  if (node === shownLog) return;
  shownLog = node;
  clearTimeout(timer);
  byId('log-text').textContent = '';
  setText(byId('log-title'), node ? `Log of ${node}` : '');
  if (!node) return;
  readLog();
  byId('log').scrollIntoView({block: 'nearest'});
}

/** Reads the log now and every two seconds. */
async function readLog() {
  clearTimeout(timer);
  const node = shownLog;
  if (!node || isPaused) return;
  const log = await fetchJson('log', {node});
  if (node !== shownLog) return;
  if (log && !isPaused) {
    const text = byId('log-text');
    const isAtEnd = text.scrollTop + text.clientHeight >= text.scrollHeight - 8;
    setText(text, log.text || '(empty)');
    setText(byId('log-note'), log.is_whole ? log.name : `the end of ${log.name}`);
    if (isAtEnd) text.scrollTop = text.scrollHeight;
  }
  timer = setTimeout(readLog, LOG_MILLISECONDS);
}
