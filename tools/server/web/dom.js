/* SPDX-License-Identifier: Apache-2.0 */
/* Elements, icons and words. Nothing here takes markup: what comes from outside becomes text nodes and property values. */

/* h('button', {class: 'main', type: 'button', on: {click}}, 'Save'): an element. Children: nodes, text, lists of them; null is left out.
 * Properties: class, on, data, and attributes by their names (true: present, false and null: absent). */
export function h(tag, properties, ...children) {
    const e = document.createElement(tag);
    for (const [key, value] of Object.entries(properties || {})) {
        if (value === null || value === undefined || value === false) continue;
        if (key === 'class') e.className = value;
        else if (key === 'on')
            for (const [event, f] of Object.entries(value)) e.addEventListener(event, f);
        else if (key === 'data') Object.assign(e.dataset, value);
        else e.setAttribute(key, value === true ? '' : String(value));
    }
    add(e, children);
    return e;
}

export function add(parent, children) {
    for (const child of [children].flat(Infinity)) {
        if (child === null || child === undefined || child === false) continue;
        parent.append(child instanceof Node ? child : String(child));
    }
    return parent;
}

export function fill(parent, ...children) {
    parent.replaceChildren();
    return add(parent, children);
}

const paths = {
    check: 'M4 12.5l5 5L20 6.5',
    alert: 'M12 3.5L22 20.5H2L12 3.5zM12 10v5M12 17.6v.4',
    question:
        'M12 2.8a9.2 9.2 0 100 18.4 9.2 9.2 0 000-18.4zM9.3 9.4c.2-3.2 5.4-3.2 5.4 0 0 2-2.7 2-2.7 4.2M12 16.6v.4',
    cross: 'M6 6l12 12M18 6L6 18',
    camera: 'M3 8h4l2-3h6l2 3h4v11H3zM12 9.8a3.6 3.6 0 100 7.2 3.6 3.6 0 000-7.2z',
    photo: 'M3 5h18v14H3zM3 16l5-5 4 4 3-3 6 5M15.5 8.6v.1',
    down: 'M12 4v12M7 11l5 5 5-5M4 20h16',
    up: 'M12 18V6M7 11l5-5 5 5M4 21h16',
    clock: 'M12 3a9 9 0 100 18 9 9 0 000-18zM12 7v5.5l3.5 2',
    again: 'M20 5v5h-5M19.4 10A8 8 0 104 13.5',
    bin: 'M4 7h16M9 7V4h6v3M6 7l1 14h10l1-14M10 11v6M14 11v6',
    layers: 'M12 3l9 5-9 5-9-5zM3 12.5l9 5 9-5M3 17l9 5 9-5',
};

/* A line drawing that says nothing to a screen reader: words stand beside it. */
export function icon(name) {
    const ns = 'http://www.w3.org/2000/svg';
    const svg = document.createElementNS(ns, 'svg');
    svg.setAttribute('viewBox', '0 0 24 24');
    svg.setAttribute('class', 'icon');
    svg.setAttribute('aria-hidden', 'true');
    const path = document.createElementNS(ns, 'path');
    path.setAttribute('d', paths[name]);
    svg.append(path);
    return svg;
}

export function button(label, click, options = {}) {
    return h(
        'button',
        {type: 'button', class: options.class, disabled: options.disabled, 'aria-label': options.name, on: {click}},
        options.icon ? icon(options.icon) : null, label ? h('span', null, label) : null);
}

/* A label with its control below. */
export function field(label, control, hint) {
    const id = control.id || 'f' + (++field.last);
    control.id = id;
    if (hint) control.setAttribute('aria-describedby', id + '-hint');
    return h('div', {class: 'field'}, h('label', { for: id
             }, label), control, hint ? h('p', {class: 'hint', id: id + '-hint'}, hint) : null);
}
field.last = 0;

export function select(options, chosen, change) {
    const e = h('select', {on: change ? {change} : {}}, options.map(([value, text]) => h('option', {value}, text)));
    if (chosen !== undefined && options.some(([value]) => value === chosen)) e.value = chosen;
    return e;
}

/* What to show where there is nothing, or something went wrong: a sentence, what to do, and buttons for it. */
export function notice(kind, title, text, ...actions) {
    const picture = {empty: 'photo', error: 'alert', 'warn-box': 'alert', done: 'check'}[kind] || 'question';
    return h(
        'div', {class: 'notice ' + kind, role: kind === 'error' ? 'alert' : null}, icon(picture),
        h('div', null, h('p', {class: 'notice-title'}, title), text ? h('p', null, text) : null,
          actions.length ? h('div', {class: 'actions'}, actions) : null));
}

export function link(label, href, style) { return h('a', {href, class: style}, label); }

/* To screen readers, politely. */
export function say(text) {
    const e = document.getElementById('say');
    e.textContent = '';
    setTimeout(() => {
        e.textContent = text;
    }, 50);
}

/* A line at the bottom that goes away by itself; errors stay until they are closed. */
export function toast(text, kind = 'info') {
    const line =
        h('div', {class: 'toast ' + kind, role: kind === 'error' ? 'alert' : 'status'}, h('span', null, text),
          button('', () => line.remove(), {icon: 'cross', class: 'plain', name: 'Close this message'}));
    const all = document.getElementById('toasts');
    all.append(line);
    while (all.children.length > 3) all.firstChild.remove();
    if (kind !== 'error') setTimeout(() => line.remove(), 5000);
}

/* Asks before something that cannot be undone. */
export function ask(title, text, yes) {
    return new Promise(resolve => {
        const dialog = h('dialog', {'aria-label': title}, h('h2', null, title), h('p', null, text));
        const done = value => {
            dialog.close();
            resolve(value);
        };
        add(dialog,
            h('div', {class: 'actions'}, button(yes, () => done(true), {class: 'main'}),
              button('Back', () => done(false))));
        dialog.addEventListener('close', () => {
            dialog.remove();
            resolve(false);
        });
        document.body.append(dialog);
        dialog.showModal();
    });
}

/* ---- words for numbers ---------------------------------------------------------------------------------------------- */

export const known = v => typeof v === 'number' && Number.isFinite(v);

export function number(v, digits = 4) {
    if (!known(v)) return '–';
    if (v !== 0 && (Math.abs(v) < 1e-4 || Math.abs(v) >= 1e6)) return v.toExponential(2);
    return String(Number(v.toPrecision(digits)));
}

export function count(n, one, many = one + 's') {
    return n === 1 ? '1 ' + one : Number(n).toLocaleString('en') + ' ' + many;
}

export function bytes(n) {
    if (!known(n)) return '';
    if (n < 1e6) return Math.max(1, Math.round(n / 1e3)) + ' KB';
    return n < 1e9 ? (n / 1e6).toFixed(1) + ' MB' : (n / 1e9).toFixed(2) + ' GB';
}

export function duration(seconds) {
    if (!known(seconds) || seconds < 0) return '';
    if (seconds < 10) return 'a few seconds';
    if (seconds < 90) return 'about ' + Math.round(seconds / 5) * 5 + ' seconds';
    const minutes = Math.round(seconds / 60);
    if (minutes < 90) return 'about ' + count(minutes, 'minute');
    return 'about ' + count(Math.round(minutes / 60), 'hour');
}

/* `t`: seconds since 1970, or text that Date understands. */
export function when(t) {
    const date = typeof t === 'number' ? new Date(t * 1000) : new Date(t || NaN);
    if (Number.isNaN(date.getTime())) return '–';
    const today = new Date().toDateString() === date.toDateString();
    const time = date.toLocaleTimeString(undefined, {hour: '2-digit', minute: '2-digit', second: '2-digit'});
    return today ? time :
                   date.toLocaleDateString(undefined, {day: 'numeric', month: 'short', year: 'numeric'}) + ', ' + time;
}

/* How rare such a score is among good photos: "1 in 50", "73 in 100". */
export function rarity(p) {
    if (!known(p)) return '–';
    if (p >= 0.995) return 'nearly all';
    if (p > 0.1) return Math.round(p * 100) + ' in 100';
    return '1 in ' + Math.round(1 / Math.max(p, 1e-9)).toLocaleString('en');
}

/* 'normal', 'anomalous' or 'none' of what an answer says. */
export function verdict(decision) {
    if (decision === 'normal' || decision === 0) return 'normal';
    return decision === 'anomalous' || decision === 1 ? 'anomalous' : 'none';
}
export const verdicts = {
    normal: {word: 'Normal', icon: 'check'},
    anomalous: {word: 'Anomaly', icon: 'alert'},
    none: {word: 'No decision', icon: 'question'},
};
export function badge(kind, word, picture) { return h('span', {class: 'badge ' + kind}, icon(picture), word); }
export function verdictBadge(decision) {
    const kind = verdict(decision);
    return badge(kind, verdicts[kind].word, verdicts[kind].icon);
}

/* The rule of names of models and data sets. */
export const nameRule = '[A-Za-z0-9_\\-][A-Za-z0-9._\\-]{0,62}';
export const nameHint = 'Letters, digits, dots, dashes and underscores; no spaces.';

export function remember(key, value) {
    try {
        if (value === undefined) return localStorage.getItem('cozad.' + key);
        localStorage.setItem('cozad.' + key, value);
    } catch {
        /* private windows may refuse: then it is forgotten */
    }
    return null;
}
