/* SPDX-License-Identifier: Apache-2.0 */
/* Page "Models": what is served, where it came from, load and unload. */
import {at, busy, get, post} from './api.js';
import {add, badge, button, count, fill, h, known, link, notice, number, say, toast, when} from './dom.js';

const methods = {
    simplenet: 'sorted photos (SimpleNet)',
    comet: 'unsorted photos (CoMet)'
};

function stateBadge(m) {
    if (m.state === 'READY') return badge('normal', 'Ready', 'check');
    return m.reason && m.reason !== 'unloaded' ? badge('anomalous', 'Cannot be used', 'alert') :
                                                 badge('none', 'Not loaded', 'question');
}

function driftNotice(m) {
    if (m.drift !== 1 && m.drift !== true) return null;
    return notice(
        'warn-box', 'Scores have moved away from those at calibration',
        'Light, camera, or the parts themselves may have changed. Check the station, then set the limit again with new good photos.');
}

function plain(v) {
    if (v === null || v === undefined || v === '') return '–';
    if (typeof v === 'number') return number(v, 6);
    if (typeof v === 'boolean') return v ? 'yes' : 'no';
    return typeof v === 'object' ? JSON.stringify(v) : String(v);
}

function limit(m) {
    if (!m.calibrated) return 'none yet: the model gives scores, no decisions';
    const c = m.calibration || {}, from = known(c.images) ? ', set with ' + count(c.images, 'good photo') : '';
    return 'scores above ' + number(c.threshold) + ' are anomalies' + from;
}

function promise(c) {
    if (!known(c.promise) || c.promise >= 1) return '';
    const sure = known(c.confidence) ? ` (${number(100 * c.confidence, 3)} % sure)` : '';
    return `at most ${number(100 * c.promise, 2)} % of good photos are flagged by mistake${sure}`;
}

function facts(m) {
    const backbone = m.backbone || {}, input = m.input || {};
    const rows = [
        ['Limit', limit(m)],
        ['Promise', promise(m.calibration || {})],
        [
            'Learnt from',
            [known(m.images) ? count(m.images, 'photo') : '', methods[m.method] || m.method || ''].filter(Boolean).join(
                ', ')
        ],
        ['File written', m.modified ? when(m.modified) : ''],
        ['Loaded', m.loaded ? when(m.loaded) : ''],
        ['Looks at', known(input.width) && known(input.height) ? `${input.width} × ${input.height} pixels` : ''],
        ['Detector', m.detector],
        ['Backbone', backbone.name || backbone.architecture],
        ['Version', m.version],
    ].filter(([, value]) => value);
    return h('dl', {class: 'facts'}, rows.map(([name, value]) => [h('dt', null, name), h('dd', null, plain(value))]));
}

/* What lies below, as one name each: "calibration rule". */
function flat(value, name, out) {
    if (value !== null && typeof value === 'object' && !Array.isArray(value)) {
        for (const key of Object.keys(value)) flat(value[key], name ? name + ' ' + key : key, out);
    } else out.push([name.replaceAll('_', ' '), value]);
    return out;
}

/* Asked for when it is opened. */
function everything(m) {
    const body = h('div'), e = h('details', null, h('summary', null, 'Everything the model file says'), body);
    e.addEventListener('toggle', async () => {
        if (!e.open || body.firstChild) return;
        try {
            const all = await get(at('api', 'models', m.name)), rows = flat(all.metadata || {}, '', []);
            fill(
                body,
                h('dl', {class: 'facts raw'},
                  rows.map(([key, value]) => [h('dt', null, key), h('dd', null, plain(value))])));
        } catch (error) {
            fill(body, h('p', {class: 'wrong'}, error.message));
        }
    });
    return e;
}

function card(m, again) {
    const act = (label, verb, done, style) => {
        const b = button(label, null, {class: style, name: label + ' ' + m.name});
        b.addEventListener('click', busy(b, async () => {
                               await post(at('v2', 'repository', 'models', m.name, verb), {});
                               say(m.name + ' ' + done);
                               await again();
                           }, text => toast(`${m.name}: ${text}`, 'error')));
        return b;
    };
    const ready = m.state === 'READY';
    return h(
        'article', {class: 'card model', 'aria-label': 'Model ' + m.name},
        h('div', {class: 'card-head'}, h('h2', null, m.name), stateBadge(m)),
        !ready && m.reason && m.reason !== 'unloaded' ? notice('error', 'The file could not be opened', m.reason) :
                                                        null,
        driftNotice(m), ready ? facts(m) : null, ready ? everything(m) : null,
        h('div', {class: 'actions'},
          ready ? link('Score with it', '#/score/' + encodeURIComponent(m.name), 'button main') : null,
          ready ? act('Reload', 'load', 'was read again', '') : act('Load', 'load', 'is loaded', 'main'),
          ready ? act('Unload', 'unload', 'is unloaded', '') : null));
}

export async function open(root) {
    const body = h('div', {class: 'cards'});
    async function draw() {
        const list = (await get('/api/models')).models || [];
        if (!list.length) {
            fill(
                body,
                h('div', {class: 'card'},
                  notice(
                      'empty', 'No models yet',
                      'Train one on the Train page, or put a .cozad file into the server’s model folder.',
                      link('Train a model', '#/train', 'button main'))));
        } else fill(body, list.map(m => card(m, draw)));
    }
    await draw();
    add(root, [
        h('div', {class: 'heading'}, h('h1', {tabindex: '-1'}, 'Models'),
          button('Refresh', () => draw().catch(e => toast(e.message, 'error')), {icon: 'again'})),
        body
    ]);
    return null;
}
