/* SPDX-License-Identifier: Apache-2.0 */
/* Page "Results": what was scored lately, by anyone, with filters. */
import {get} from './api.js';
import {button, count, field, fill, h, link, notice, number, rarity, say, select, verdictBadge, when} from './dom.js';

const rows = 50, refresh = 5000;

function address(path, filter, extra) {
    const query = new URLSearchParams();
    for (const [key, value] of Object.entries({...filter, ...extra}))
        if (value) query.set(key, value);
    const text = query.toString();
    return path + (text ? '?' + text : '');
}

function line(r) {
    const cell = (label, ...content) => h('td', {data: {label}}, content);
    return h(
        'tr', null, cell('Time', when(r.time)), cell('Decision', verdictBadge(r.decision)),
        cell('Score', number(r.score)), cell('Good photos as high', rarity(r.p_value)), cell('Model', r.model || '–'),
        cell('Photo', h('span', {class: 'file-name'}, r.name || 'no name')), cell('From', r.client || '–'));
}

function table(list) {
    const heads = ['Time', 'Decision', 'Score', 'Good photos as high', 'Model', 'Photo', 'From'];
    return h(
        'div', {class: 'scroll', tabindex: '0', role: 'region', 'aria-label': 'Recent results'},
        h('table', {class: 'results'}, h('thead', null, h('tr', null, heads.map(t => h('th', {scope: 'col'}, t)))),
          h('tbody', null, list.map(line))));
}

export async function open(root) {
    const filter = {model: '', decision: '', text: ''}, back = [];
    let before = 0, serial = 0, timer = 0, gone = false;
    const [models, first] = await Promise.all([get('/api/models'), get(address('/api/history', {}, {most: rows}))]);
    const names = (models.models || []).map(m => m.name);
    const body = h('div', {class: 'card table-card'}), csv = link('Download as CSV', '', 'button');
    csv.setAttribute('download', 'results.csv');

    const filtered = () => Boolean(filter.model || filter.decision || filter.text);
    function draw(answer) {
        const list = answer.rows || [], last = list.length ? list[list.length - 1].id : 0;
        csv.href = address('/api/history.csv', filter, {});
        csv.hidden = list.length === 0;
        if (!list.length) {
            fill(
                body,
                filtered() ? notice(
                                 'empty', 'No result fits', 'Change or clear the filter above.',
                                 button('Clear the filter', clear)) :
                             notice(
                                 'empty', 'Nothing was scored yet', 'Score a photo, and it is listed here.',
                                 link('Score photos', '#/score', 'button main')));
            return;
        }
        const newer = button('Newer', () => {
            before = back.pop() || 0;
            load(true);
        }, {disabled: !before});
        const older = button('Older', () => {
            back.push(before);
            before = last;
            load(true);
        }, {disabled: list.length < rows});
        fill(
            body, table(list),
            h('div', {class: 'pager'}, newer, older,
              h('span', {class: 'soft'},
                count(list.length, 'result') + ' shown' +
                    (typeof answer.total === 'number' && !before ? ' of ' + answer.total.toLocaleString('en') : ''))));
    }

    async function load(asked) {
        const mine = ++serial;
        clearTimeout(timer);
        try {
            const answer = await get(address('/api/history', filter, {before, most: rows}));
            if (mine !== serial || gone) return;
            const focused = document.activeElement && body.contains(document.activeElement) ?
                document.activeElement.textContent :
                null;
            draw(answer);
            if (focused)
                ([...body.querySelectorAll('button')].find(b => b.textContent === focused && !b.disabled) ||
                 body.querySelector('.scroll') || body)
                    .focus();
            if (asked) say(count((answer.rows || []).length, 'result') + ' shown');
        } catch (e) {
            if (mine !== serial || gone) return;
            if (asked || e.status)
                fill(
                    body,
                    notice(
                        'error', 'The results could not be read', e.message,
                        button('Try again', () => load(true), {icon: 'again'})));
        }
        if (!before) timer = setTimeout(later, refresh);
    }
    const later = () => {
        if (document.hidden) timer = setTimeout(later, refresh);
        else load(false);
    };

    const model = select([['', 'All models'], ...names.map(n => [n, n])], '');
    const decision =
        select([['', 'All'], ['anomalous', 'Anomaly'], ['normal', 'Normal'], ['unknown', 'No decision']], '');
    const text = h('input', {type: 'search', placeholder: 'e.g. camera-3', maxlength: '200'});
    const change = () => {
        Object.assign(filter, {model: model.value, decision: decision.value, text: text.value.trim()});
        before = 0;
        back.length = 0;
        load(true);
    };
    function clear() {
        model.value = decision.value = text.value = '';
        change();
        text.focus();
    }
    model.addEventListener('change', change);
    decision.addEventListener('change', change);
    let typing = 0;
    text.addEventListener('input', () => {
        clearTimeout(typing);
        typing = setTimeout(change, 300);
    });
    const form =
        h('form', {
            class: 'filter',
            role: 'search',
            on: {
                submit: event => {
                    event.preventDefault();
                    change();
                }
            }
        },
          field('Model', model), field('Decision', decision), field('Name of the photo contains', text));
    fill(root, h('div', {class: 'heading'}, h('h1', {tabindex: '-1'}, 'Results'), csv), form, body);
    draw(first);
    timer = setTimeout(later, refresh);
    return () => {
        gone = true;
        clearTimeout(timer);
        clearTimeout(typing);
    };
}
