// SPDX-License-Identifier: Apache-2.0
// Fills the page from /api, about every 2 s, and goes on by itself when vmnatd has been away.
//
// What guests can influence (hostnames, client ids, names) becomes text of nodes, never markup. Rates are
// differences of counts between two answers. Asking bounds itself: at most 200 sessions are asked for, a hidden
// page asks every 30 s, and after an answer that took 1 s nothing is asked for 9 s.

const kPeriod = 2000, kHiddenPeriod = 30_000, kDoctorPeriod = 15_000;  // ms
const kMostRows = 200;
const kChartSeconds = 300;
const kSessionStates = ['syn_sent', 'syn_received', 'syn_crossed', 'syn_acknowledged', 'established', 'fin_outbound', 'fin_inbound',
  'closing', 'reset', 'picked_up', 'open'];

const element = id => document.getElementById(id);

// --- asking ---------------------------------------------------------------------------------------------------

class Silence extends Error {}  // vmnatd did not answer, or not to the end
class Refusal extends Error {}  // it said no, and why

// The answer of a command, as `vmnatctl --json COMMAND`.
async function ask(command, options = {}) {
  const query = new URLSearchParams(options).toString();
  let answer, content;
  try {
    answer = await fetch(`/api/${command}${query && '?'}${query}`, {cache: 'no-store', signal: AbortSignal.timeout(10_000)});
    content = await answer.json();
  } catch (problem) {
    throw new Silence(problem.message);
  }
  if (!answer.ok) throw Object.assign(new Refusal(content.error), {status: answer.status});
  return content;
}

// Does its work again and again, at once when woken, and never twice at a time.
class Loop {
  #work;
  #period;
  #timer = null;
  #isAtWork = false;
  #isWanted = false;

  constructor(work, period = kPeriod) {
    this.#work = work;
    this.#period = period;
  }

  async wake() {
    if (this.#isAtWork) return void (this.#isWanted = true);
    clearTimeout(this.#timer);
    this.#isAtWork = true;
    this.#isWanted = false;
    const began = performance.now();
    try {
      await this.#work();
    } catch (problem) {
      noteProblem(problem);
    } finally {
      const pause = Math.max(document.hidden ? kHiddenPeriod : this.#period, 9 * (performance.now() - began));
      this.#isAtWork = false;
      this.#timer = setTimeout(() => this.wake(), this.#isWanted ? 0 : pause);
    }
  }
}

// --- rates ----------------------------------------------------------------------------------------------------

// The larger of two clocks' differences: one of them may stand still while this machine sleeps, the other be set back.
const clocks = () => ({steady: performance.now(), wall: Date.now()});
const secondsBetween = (a, b) => Math.max(b.steady - a.steady, b.wall - a.wall) / 1000;

// Counts of things to their growth a second, from one answer to the next. A thing that is new, or of which a count
// went back, has no rate until the answer after.
class Rates {
  #before = new Map();
  #at = clocks();

  forget() {
    this.#before.clear();
  }

  // `counts`: Map of key -> {name: count}. Answers a Map of key -> {name: rate}.
  take(counts) {
    const now = clocks(), seconds = secondsBetween(this.#at, now), rates = new Map();
    for (const [key, after] of counts) {
      const before = this.#before.get(key), names = Object.keys(after);
      if (before && seconds > 0 && names.every(name => after[name] >= (before[name] ?? 0)))
        rates.set(key, Object.fromEntries(names.map(name => [name, (after[name] - (before[name] ?? 0)) / seconds])));
    }
    this.#before = counts;
    this.#at = now;
    return rates;
  }
}

const rates = {ports: new Rates(), workers: new Rates(), counters: new Rates()};
const gateway = {networks: [], ports: [], leases: [], active: 0};  // as last told
let lastStatus = null;                                             // {at, uptime}

// A daemon that started anew counts from where it wants: nothing before is to be compared with.
function noteUptime(uptime) {
  const at = clocks();
  if (lastStatus && uptime < lastStatus.uptime + secondsBetween(lastStatus.at, at) - 3)
    Object.values(rates).forEach(all => all.forget());
  lastStatus = {at, uptime};
}

const sum = (list, of) => list.reduce((total, item) => total + of(item), 0);

// --- text -----------------------------------------------------------------------------------------------------

// 1234567 is "1.23 M".
function scaled(number) {
  const units = ['', 'k', 'M', 'G', 'T', 'P'];
  let unit = 0;
  while (Math.abs(number) >= 999.5 && unit < units.length - 1) {
    number /= 1000;
    ++unit;
  }
  const digits = unit === 0 ? 0 : number < 9.995 ? 2 : number < 99.95 ? 1 : 0;
  return `${number.toFixed(digits)} ${units[unit]}`.trimEnd();
}
const ofUnit = (number, unit) => `${scaled(number)}${number < 999.5 ? ' ' : ''}${unit}`;  // "1.23 MB", "12 B"
const bits = rate => rate === undefined ? '–' : ofUnit(8 * rate, 'bit/s');
const aSecond = rate => rate === undefined ? '–' : `${rate > 0 && rate < 9.95 ? rate.toFixed(1) : scaled(rate)}/s`;
const whole = number => number.toLocaleString('en').replaceAll(',', '\u202f');
const plural = (number, word) => `${whole(number)} ${word}${number === 1 ? '' : 's'}`;
const orDash = value => value === null || value === undefined || value === '' ? '–' : String(value);

// Two units: "3 d 4 h", "5 min 0 s".
function duration(seconds) {
  const units = [[86400, 'd'], [3600, 'h'], [60, 'min'], [1, 's']];
  const first = seconds < 1 ? units.length - 1 : units.findIndex(([size]) => seconds >= size);
  let rest = Math.floor(seconds);
  return units.slice(first, first + 2).map(([size, name]) => {
    const count = Math.floor(rest / size);
    rest -= count * size;
    return `${count} ${name}`;
  }).join(' ');
}

// --- nodes ----------------------------------------------------------------------------------------------------

function make(tag, properties = {}, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
}

// What stays as it is keeps its nodes, so that a selection in it lasts.
function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}
function setList(list, items) {
  while (list.children.length > items.length) list.lastChild.remove();
  items.forEach((item, i) => list.children[i] ?? list.append(make('li')));
  items.forEach((item, i) => fill(list.children[i], item));
}

// A text, or several parts of which each is a text or [tag, text, class].
function fill(node, parts) {
  if (typeof parts === 'string') return setText(node, parts);
  parts = parts.filter(part => part !== null);
  const tags = parts.map(part => typeof part === 'string' ? 'span' : part[0]).join();
  if ([...node.children].map(child => child.localName).join() !== tags || node.childNodes.length !== parts.length)
    node.replaceChildren(...tags.split(',').filter(Boolean).map(tag => make(tag)));
  parts.forEach((part, i) => {
    const [, text, name = ''] = typeof part === 'string' ? ['', part] : part;
    setText(node.children[i], text);
    node.children[i].className = name;
  });
}

// Rows by key, so that an open detail stays open. A column: {title, of: item -> what fill() takes, kind: its class,
// draw(cell, item): in place of `of`}.
class Table {
  #columns;
  #body = make('tbody');
  #rows = new Map();

  constructor(id, columns) {
    this.#columns = columns;
    const titles = columns.map(({title, kind = ''}) => make('th', {scope: 'col', className: kind, textContent: title}));
    element(id).append(make('thead', {}, make('tr', {}, ...titles)), this.#body);
    // Styles for narrow screens make blocks of them, which takes away what they are.
    element(id).role = 'table';
    this.#body.role = 'rowgroup';
  }

  // `items`: Map of key -> item.
  show(items) {
    let at = this.#body.firstChild;
    for (const [key, row] of this.#rows)
      if (!items.has(key)) {
        if (at === row) at = row.nextSibling;
        row.remove();
        this.#rows.delete(key);
      }
    for (const [key, item] of items) {
      const row = this.#rows.get(key) ?? this.#newRow(key);
      if (row === at) at = row.nextSibling;
      else this.#body.insertBefore(row, at);
      this.#columns.forEach(({of, draw}, i) => draw ? draw(row.cells[i], item) : fill(row.cells[i], of(item)));
    }
  }

  #newRow(key) {
    const row = make('tr', {role: 'row'}, ...this.#columns.map(({title, kind = ''}) => {
      const cell = make('td', {role: 'cell', className: kind});
      cell.dataset.label = title;
      return cell;
    }));
    this.#rows.set(key, row);
    return row;
  }
}

const countTitle = (id, text) => setText(element(`${id}-title`).querySelector('small'), text);

// --- networks and VMs -----------------------------------------------------------------------------------------

const isVm = port => port.network !== 'uplink' && port.kind !== 'host';
const leaseOf = port => gateway.leases.find(lease => lease.port === port.name && lease.address === port.address) ??
  gateway.leases.find(lease => lease.port === port.name && lease.network === port.network);
const dropsOf = port => sum(Object.values(port.drops), count => count) + port.tx_refused;
const rateCell = (bytes, packets) => port =>
  port.rates ? [bits(port.rates[bytes]), ['small', aSecond(port.rates[packets])]] : '–';

const vmColumns = [
  {title: 'Name', kind: 'name', of: port => [port.vm_of ?? port.name, ...whoIs(port)]},
  {title: 'Network', of: port => port.network},
  {title: 'Address', kind: 'address', of: port => orDash(port.address)},
  {title: 'MAC', kind: 'address', of: port => orDash(port.mac)},
  {title: 'Link', of: port => [['span', port.link, port.link], ['small', port.kind]]},
  {title: 'Out', kind: 'number', of: rateCell('rx_bytes', 'rx_packets')},
  {title: 'In', kind: 'number', of: rateCell('tx_bytes', 'tx_packets')},
  {title: 'Drops', kind: 'number', draw: drawDrops},
];

// Beside its name: that its guest says, and the port it has moved to.
function whoIs(port) {
  const hostname = leaseOf(port)?.hostname;
  return [hostname && hostname !== port.name ? ['small', hostname] : null, port.vm_of ? ['small', `now at port ${port.name}`] : null];
}

function drawDrops(cell, port) {
  const reasons = Object.entries(port.drops);
  for (const [reason, count] of Object.entries(port.refused ?? {}))
    if (reason.startsWith('dhcp.')) reasons.push([reason, count]);  // others are among the drops
  if (port.tx_refused > 0) reasons.push(['not taken by the VM', port.tx_refused]);
  if (reasons.length === 0) return fill(cell, '0');
  if (!cell.querySelector('details')) cell.replaceChildren(make('details', {}, make('summary'), make('ul')));
  const rate = port.rates && port.rates.drops > 0 ? ` (${aSecond(port.rates.drops)})` : '';
  setText(cell.querySelector('summary'), whole(sum(reasons, ([, count]) => count)) + rate);
  setList(cell.querySelector('ul'), reasons.map(([reason, count]) => [reason, whole(count)]));
}

const networkColumns = [
  {title: 'Name', kind: 'name', of: network => network.name},
  {title: 'Gateway', kind: 'address', of: network => network.address},
  {title: 'Leads', of: network => network.forward === 'nat' ? 'outside, by NAT' : 'nowhere'},
  {title: 'External addresses', kind: 'address free', of: network => externalOf(network)},
  {title: 'VMs', kind: 'number', of: network => `${network.up} of ${network.ports} up`},
  {title: 'Leases', kind: 'number', of: network => whole(network.leases)},
  {title: 'Out', kind: 'number', of: rateCell('rx_bytes', 'rx_packets')},
  {title: 'In', kind: 'number', of: rateCell('tx_bytes', 'tx_packets')},
];

function externalOf(network) {
  const draining = network.draining.map(({address, sessions}) => `${address} drains, ${plural(sessions, 'session')} left`);
  return [orDash(network.external.join(', ')), ...draining.map(text => ['small', text])];
}

const tables = {networks: new Table('networks', networkColumns), vms: new Table('vms', vmColumns)};
const kCounted = ['rx_bytes', 'tx_bytes', 'rx_packets', 'tx_packets'];

// Of those ports that have rates; undefined: none has.
function addRates(ports) {
  const known = ports.filter(port => port.rates);
  if (known.length > 0 || ports.length === 0) return Object.fromEntries(kCounted.map(name => [name, sum(known, port => port.rates[name])]));
}

function showPorts(ports) {
  const counts = port => Object.fromEntries([...kCounted.map(name => [name, port[name]]), ['drops', dropsOf(port)]]);
  const grown = rates.ports.take(new Map(ports.map(port => [port.name, counts(port)])));
  gateway.ports = ports.map(port => ({...port, rates: grown.get(port.name)}));
  const vms = gateway.ports.filter(isVm), total = addRates(vms), up = vms.filter(port => port.link === 'up').length;
  tables.vms.show(new Map(vms.map(port => [port.name, port])));
  countTitle('vms', whole(vms.length));
  fill(element('total-out'), bits(total?.rx_bytes));
  fill(element('total-in'), bits(total?.tx_bytes));
  fill(element('total-packets'), [aSecond(total && total.rx_packets + total.tx_packets)]);
  fill(element('total-vms'), [whole(vms.length), ['small', `${whole(up)} up`]]);
  if (total) drawChart(total);
  showUplink();
  showNetworks();
}

function showNetworks() {
  tables.networks.show(new Map(gateway.networks.map(network => {
    const own = gateway.ports.filter(port => isVm(port) && port.network === network.name);
    return [network.name, {...network, up: own.filter(port => port.link === 'up').length, rates: addRates(own)}];
  })));
  countTitle('networks', whole(gateway.networks.length));
}

function showUplink() {
  const uplink = gateway.ports.find(port => port.network === 'uplink');
  if (!uplink) return;
  const traffic = uplink.rates ? `, out ${bits(uplink.rates.tx_bytes)}, in ${bits(uplink.rates.rx_bytes)}` : '';
  fill(element('uplink'), ['Uplink ', ['span', uplink.link, uplink.link], `, ${uplink.address ?? 'no address yet'}${traffic}`]);
}

// --- the last minutes -----------------------------------------------------------------------------------------

let points = [];  // {at, out, in}: bits a second

function drawChart(total) {
  const now = clocks();
  points.push({at: now, out: 8 * total.rx_bytes, in: 8 * total.tx_bytes});
  points = points.filter(({at}) => secondsBetween(at, now) <= kChartSeconds);
  const most = Math.max(1000, ...points.flatMap(point => [point.out, point.in]));
  for (const way of ['out', 'in'])
    element(`chart-${way}`).setAttribute('d', points.map((point, i) => {
      const x = 300 * (1 - secondsBetween(point.at, now) / kChartSeconds), y = 99 - 98 * point[way] / most;
      return `${i === 0 ? 'M' : 'L'}${x.toFixed(1)} ${y.toFixed(1)}`;
    }).join(''));
  setText(element('chart-most'), `upper line: ${bits(most / 8)}`);
  const last = points.at(-1);
  element('chart').setAttribute('aria-label',
    `Traffic of the last 5 minutes: now ${bits(last.out / 8)} out, ${bits(last.in / 8)} in, at most ${bits(most / 8)}`);
}

// --- the daemon, its counters and workers ---------------------------------------------------------------------

function showStatus(status) {
  noteUptime(status.uptime_s);
  fill(element('daemon'), `${status.version}, up ${duration(status.uptime_s)}`);
  gateway.active = status.sessions.active;
  const {active, capacity} = status.sessions;
  fill(element('total-sessions'), [whole(active), ['small', `of ${whole(capacity)} (${(100 * active / capacity).toFixed(1)} %)`]]);
  element('notes').hidden = status.notes.length === 0;
  setText(element('notes').querySelector('summary'), `${plural(status.notes.length, 'note')} of vmnatd on what it runs without`);
  setList(element('notes').querySelector('ul'), status.notes);
}

function showCounters(counters) {
  const grown = rates.counters.take(new Map(Object.entries(counters).map(([name, count]) => [name, {count}])));
  const drops = Object.entries(counters).filter(([name, count]) => name.startsWith('drop.') && count > 0).sort((a, b) => b[1] - a[1]);
  const rate = drops.some(([name]) => grown.has(name)) ? sum(drops, ([name]) => grown.get(name)?.count ?? 0) : undefined;
  fill(element('total-drops'), [whole(sum(drops, ([, count]) => count)), ['small', aSecond(rate ?? (drops.length === 0 ? 0 : undefined))]]);
  element('drops').hidden = drops.length === 0;
  setList(element('reasons'), drops.map(([name, count]) => [name.slice('drop.'.length), whole(count)]));
}

const workerColumns = [
  {title: 'Worker', kind: 'name', of: worker => `${worker.worker}`},
  {title: 'CPU', kind: 'number', of: worker => `${worker.cpu}`},
  {title: 'Load', kind: 'wide', draw: drawLoad},
  {title: 'Packets', kind: 'number', of: worker => aSecond(worker.rates?.packets)},
  {title: 'Cycles a packet', kind: 'number', of: worker => scaled(worker.cycles_per_packet)},
  {title: 'Sessions', kind: 'number', of: worker => whole(worker.sessions)},
  {title: 'Handed over', kind: 'number', of: worker => `${(100 * worker.handoff_ratio).toFixed(1)} %`},
];
tables.workers = new Table('workers', workerColumns);

// Of the time since the former answer; before there is one, of all time.
function drawLoad(cell, {worker, busy_ratio, rates}) {
  const busy = rates && rates.total_cycles > 0 ? rates.busy_cycles / rates.total_cycles : busy_ratio;
  if (!cell.firstChild) {
    const meter = make('meter', {min: 0, max: 1, low: 0.7, high: 0.9, optimum: 0});
    meter.ariaLabel = `load of worker ${worker}`;
    cell.append(make('div', {className: 'bar'}, meter, make('span')));
  }
  cell.querySelector('meter').value = busy;
  setText(cell.querySelector('span'), `${(100 * busy).toFixed(1)} %`);
}

function showWorkers(workers) {
  const counts = ({packets, busy_cycles, total_cycles}) => ({packets, busy_cycles, total_cycles});
  const grown = rates.workers.take(new Map(workers.map(worker => [worker.worker, counts(worker)])));
  tables.workers.show(new Map(workers.map(worker => [worker.worker, {...worker, rates: grown.get(worker.worker)}])));
  countTitle('workers', whole(workers.length));
}

// --- leases ---------------------------------------------------------------------------------------------------

tables.leases = new Table('leases', [
  {title: 'Address', kind: 'name address', of: lease => lease.address},
  {title: 'Hostname', kind: 'free', of: lease => orDash(lease.hostname)},
  {title: 'Network', of: lease => lease.network},
  {title: 'VM', of: lease => orDash(lease.port)},
  {title: 'MAC', kind: 'address', of: lease => orDash(lease.mac)},
  {title: 'Client id', kind: 'address free', of: lease => orDash(lease.client_id)},
  {title: 'State', of: lease => [orDash(lease.state), lease.reservation ? ['small', `reserved, ${lease.reservation}`] : null]},
  {title: 'Expires', of: lease => lease.expires ? new Date(lease.expires).toLocaleString('sv') : 'never'},
]);

function showLeases(leases) {
  gateway.leases = leases;
  tables.leases.show(new Map(leases.slice(0, kMostRows).map(lease => [`${lease.network} ${lease.address}`, lease])));
  countTitle('leases', leases.length > kMostRows ? `${kMostRows} of ${whole(leases.length)}` : whole(leases.length));
}

// --- sessions -------------------------------------------------------------------------------------------------

tables.sessions = new Table('sessions', [
  {title: 'VM', kind: 'name', of: session => [session.port, ['small', session.network]]},
  {title: 'Protocol', of: session => [session.protocol, session.state === session.protocol ? null : ['small', session.state]]},
  {title: 'Internal', kind: 'address', of: session => session.internal},
  {title: 'External', kind: 'address', of: session => session.external},
  {title: 'Remote', kind: 'address', of: session => session.remote},
  {title: 'Out', kind: 'number', of: session => [ofUnit(session.bytes_out, 'B'), ['small', plural(session.packets_out, 'packet')]]},
  {title: 'In', kind: 'number', of: session => [ofUnit(session.bytes_in, 'B'), ['small', plural(session.packets_in, 'packet')]]},
  {title: 'Idle', kind: 'number', of: session => duration(session.idle_s)},
  {title: 'Ends in', kind: 'number', of: session => duration(session.expires_s)},
]);

const toNumber = address => address.split('.').reduce((number, byte) => number * 256 + Number(byte), 0);
function isWithin(address, network) {
  const [own, length] = network.address.split('/'), size = 2 ** (32 - Number(length));
  return Math.floor(toNumber(address) / size) === Math.floor(toNumber(own) / size);
}

// Which end of a session has such an address.
function endOf(address) {
  if (gateway.networks.some(network => isWithin(address, network))) return 'internal';
  const number = toNumber(address);
  const isExternal = gateway.networks.flatMap(network => network.external).some(range => {
    const [first, last = first] = range.split('-').map(toNumber);
    return first <= number && number <= last;
  });
  return isExternal ? 'external' : 'remote';
}

// The option of /api/sessions that a word stands for; undefined: none.
function optionOf(word) {
  const lower = word.toLowerCase(), address = /^(\d{1,3}(?:\.\d{1,3}){3})(?::\d{1,5})?$/.exec(word);
  if (address) return [endOf(address[1]), word];
  const vm = gateway.ports.find(port => isVm(port) && port.name === word) ?? gateway.ports.find(port => isVm(port) && leaseOf(port)?.hostname === word);
  if (vm) return ['port', vm.vm_of ?? vm.name];
  if (gateway.networks.some(network => network.name === word)) return ['network', word];
  if (['tcp', 'udp', 'icmp'].includes(lower) || /^\d{1,3}$/.test(word)) return ['protocol', lower];
  if (kSessionStates.includes(lower)) return ['state', lower];
}

function filterOf(words) {
  const options = {};
  for (const word of words.split(/\s+/).filter(Boolean)) {
    const option = optionOf(word);
    if (!option) throw new Refusal(`“${word}” is no address, VM, network, protocol or state`);
    const [name, value] = option;
    if (name in options) throw new Refusal(`“${options[name]}” and “${word}”: a session has one ${name}`);
    options[name] = value;
  }
  return options;
}

// To count what a filter selects vmnatd looks at its whole table, so that is asked only when rows are left out.
async function findSessions(filter) {
  const isFiltered = Object.keys(filter).length > 0;
  const sessions = await ask('sessions', {...filter, limit: kMostRows});
  let all = sessions.length;
  if (all === kMostRows) all = isFiltered ? (await ask('sessions', {...filter, count: true})).count : gateway.active;
  return {sessions, isFiltered, more: Math.max(0, all - sessions.length)};
}

function showSessions({sessions, isFiltered, more}) {
  const key = ({network, protocol, internal, external, remote}) => [network, protocol, internal, external, remote].join();
  tables.sessions.show(new Map(sessions.map(session => [key(session), session])));
  countTitle('sessions', whole(gateway.active));
  noteSessions(more > 0 ? `${whole(sessions.length)} shown; there are ${whole(more)} more` :
    isFiltered ? `${plural(sessions.length, 'session')} found` : '');
}

function noteSessions(text, isWrong = false) {
  setText(element('sessions-note'), text);
  element('sessions-note').classList.toggle('wrong', isWrong);
}

async function refreshSessions() {
  try {
    const words = element('words').value, found = await findSessions(filterOf(words));
    if (words !== element('words').value) return;  // there will be another answer
    showSessions(found);
    element('sessions-note').dataset.words = words;
  } catch (problem) {
    if (!(problem instanceof Refusal)) throw problem;
    noteSessions(problem.message, true);
  }
}

// --- doctor ---------------------------------------------------------------------------------------------------

// A daemon without that command has no findings to show, and is asked again only when another one has come.
let lacksDoctor = false;

async function refreshFindings() {
  if (lacksDoctor) return;
  try {
    showFindings(await ask('doctor'));
  } catch (problem) {
    if (!(problem instanceof Refusal)) throw problem;
    lacksDoctor = problem.status === 404;
    element('findings').hidden = true;
  }
}

function showFindings(findings) {
  const section = element('findings'), list = section.querySelector('ul');
  section.hidden = false;
  countTitle('findings', findings.length === 0 ? 'doctor finds nothing wrong' : whole(findings.length));
  list.replaceChildren(...findings.map(finding => {
    const item = make('li', {}, make('p', {}, make('b', {textContent: finding.severity}), ` ${orDash(finding.object)}: ${finding.seen}`));
    if (['error', 'warning'].includes(finding.severity)) item.className = finding.severity;
    item.append(make('p', {className: 'quiet', textContent: orDash(finding.means)}), make('p', {textContent: orDash(finding.mend)}));
    return item;
  }));
}

// --- the page -------------------------------------------------------------------------------------------------

let silentSince = null;

function noteAnswer() {
  if (silentSince) lacksDoctor = false;
  silentSince = null;
  document.body.classList.remove('silent');
  element('silence').hidden = true;
  setText(element('state'), 'live');
}

function noteProblem(problem) {
  if (problem instanceof Refusal) return setText(element('state'), `live, but: ${problem.message}`);
  if (!(problem instanceof Silence)) throw problem;
  silentSince ??= new Date();
  document.body.classList.add('silent');
  element('silence').hidden = false;
  setText(element('silence'), `vmnatd does not answer since ${silentSince.toLocaleTimeString('en-GB')}. What is shown is from before; this page goes on by itself.`);
  setText(element('state'), 'no answer');
}

async function refresh() {
  showStatus(await ask('status'));
  const shown = [['networks', networks => void (gateway.networks = networks)], ['leases', showLeases], ['ports', showPorts],
    ['workers', showWorkers], ['counters', showCounters]];
  noteAnswer();
  for (const [command, show] of shown) show(await ask(command));
}

const loops = [new Loop(refresh), new Loop(refreshSessions), new Loop(refreshFindings, kDoctorPeriod)];
element('words').addEventListener('input', () => loops[1].wake());
document.addEventListener('visibilitychange', () => document.hidden || loops.forEach(loop => loop.wake()));
await loops[0].wake();  // words of a search are names of what it has told
loops.slice(1).forEach(loop => loop.wake());
