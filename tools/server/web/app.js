/* SPDX-License-Identifier: Apache-2.0 */
/* Which page is shown: "#/train/job/7" is page "train" with "job" and "7". */
import {version} from './api.js';
import {button, fill, h, notice} from './dom.js';
import * as models from './models.js';
import * as results from './results.js';
import * as score from './score.js';
import * as train from './train.js';

const pages = {
    score: {title: 'Score', open: score.open},
    results: {title: 'Results', open: results.open},
    train: {title: 'Train', open: train.open},
    models: {title: 'Models', open: models.open},
};
let leave = null, turn = 0;

function segments() {
    const parts = location.hash.replace(/^#\/?/, '').split('/');
    try {
        return parts.map(decodeURIComponent);
    } catch {
        return ['score'];
    }
}

async function show(first) {
    const [name, ...rest] = segments(), page = pages[name] || pages.score, mine = ++turn;
    const main = document.getElementById('main'), root = h('div', {class: 'page'});
    if (leave) leave();
    leave = null;
    for (const a of document.querySelectorAll('nav a')) {
        if (a.hash === '#/' + (pages[name] ? name : 'score')) a.setAttribute('aria-current', 'page');
        else a.removeAttribute('aria-current');
    }
    document.title = page.title + ' – CoZAD';
    const slow = setTimeout(() => {
        if (mine === turn) fill(main, h('p', {class: 'loading', role: 'status'}, 'Loading…'));
    }, 200);
    try {
        const left = await page.open(root, ...rest);
        if (mine !== turn) {
            if (left) left();
            return;
        }
        leave = left;
    } catch (e) {
        if (mine !== turn) return;
        fill(
            root, h('h1', {tabindex: '-1'}, page.title),
            h('div', {class: 'card'},
              notice(
                  'error', 'This page could not be shown', e.message,
                  button('Try again', () => show(false), {class: 'main', icon: 'again'}))));
    } finally {
        clearTimeout(slow);
    }
    fill(main, root);
    if (version()) document.getElementById('about').textContent = 'CoZAD ' + version();
    const heading = root.querySelector('h1');
    if (!first && heading) heading.focus({preventScroll: true});
    if (!first) window.scrollTo(0, 0);
}

window.addEventListener('hashchange', () => show(false));
document.querySelector('.skip').addEventListener('click', event => {
    event.preventDefault(); /* the address names the page, not a place in it */
    document.getElementById('main').focus();
});
/* A photo that misses the drop area must not replace the page. */
for (const type of ['dragover', 'drop']) window.addEventListener(type, event => event.preventDefault());
show(true);
