// Show an opened role: a table of its nodes, and the log of one of them.
'use strict';

const RESTARTS = 'environment_restarts';

let roles = [];

/** Return the {role, node} in the address; empty if there is none. */
function opened() {
  let name = '';
  try {
    name = decodeURIComponent(location.hash.slice(1));
  } catch { /* Not a valid address. */ }
  const role = roles.find((each) => each.role === name || each.nodes.includes(name));
  return {role, node: role && role.role !== name ? name : ''};
}

/** Show the panel of the opened role, or hide it. */
function updateDetails(nodes) {
  const {role} = opened();
  byId('details').hidden = !role;
  if (!role) return;
  setText(byId('details-title'), role.title);
  setText(byId('details-about'), role.about);
  const focused = document.activeElement?.hash;
  fillTable('nodes', ['node', 'state', 'activity', 'activities: share, time per call',
    'rates and values', 'cores', 'memory', 'env restarts', 'host, pid'],
    role.nodes.map((name) => row(name, nodes[name])));
  [...byId('nodes').querySelectorAll('a')]
    .find((link) => link.hash === focused)?.focus();
}

function row(name, node) {
  const link = make('a', {href: `#${encodeURIComponent(name)}`}, name);
  if (!node) return [link];
  const bar = draw('svg', {class: 'states', width: 120, height: 10},
    ...segments(node.states, 0, 0, 120, 10));
  const state = node.state
    ? `${node.state} ${percent(node.states[node.state])}` : UNKNOWN;
  return [
    link,
    make('span', {class: 'faint'}, node.state ? bar : '', state),
    node.is_silent ? make('b', {class: 'failure'}, 'silent')
      : words(node.activity ?? UNKNOWN),
    list(activities(node)), list(metrics(node)), number(node.cores, 2),
    megabytes(node.rss_bytes), number(node.counts[RESTARTS]),
    [node.host, node.pid].filter(Boolean).join(' ') || UNKNOWN,
  ];
}

/** Return [activity, 'share, ms'], largest share first. */
function activities(node) {
  return Object.entries(node.activities)
    .filter(([, share]) => share >= 0.005)
    .sort((a, b) => b[1] - a[1])
    .map(([name, share]) => {
      const each = node.milliseconds[name];
      return [name, percent(share) + (each === undefined ? '' : `, ${rounded(each)} ms`)];
    });
}

/** Return rates of counters, other than calls of activities, and gauges. */
function metrics(node) {
  return [
    ...Object.entries(node.rates)
      .filter(([name]) => !(name in node.activities) && name !== RESTARTS)
      .map(([name, rate]) => [name, `${rounded(rate)}/s`]),
    ...Object.entries(node.gauges).map(([name, value]) => [name, rounded(value)]),
  ];
}

function list(entries) {
  return make('dl', {}, ...entries.flatMap(([name, value]) =>
    [make('dt', {}, words(name)), make('dd', {}, value)]));
}

/** Show the end of the opened node's log; keep scrolling with it. */
async function updateLog() {
  const {node} = opened();
  byId('log').hidden = !node;
  const log = node && await read('log', node);
  if (!log || node !== opened().node) return;
  const text = byId('log-text');
  const isAtEnd = text.scrollTop + text.clientHeight >= text.scrollHeight - 8;
  setText(byId('log-title'), `Log of ${node}`);
  setText(byId('log-note'), log.is_whole ? log.name : `last lines of ${log.name}`);
  setText(text, log.text || '(empty)');
  if (isAtEnd) text.scrollTop = text.scrollHeight;
}
