/* SPDX-License-Identifier: Apache-2.0 */
/* Page "Score": photos in, results out. The list of photos outlives a change of page; a reload empties it. */
import {call, get} from './api.js';
import {openCamera} from './camera.js';
import {
    badge,
    button,
    count,
    fill,
    h,
    icon,
    known,
    link,
    notice,
    number,
    rarity,
    remember,
    say,
    select,
    toast,
    verdict,
    verdicts,
} from './dom.js';
import {viewer} from './viewer.js';

const most = 200; /* photos kept in the list */
const atOnce = 2; /* photos sent at a time */
const list = [
]; /* newest last: {id, name, file, model, state: 'waiting'|'scoring'|'done'|'failed', result, error, url, thumb} */
const view = {
    root: null,
    result: null,
    strip: null,
    chosen: null,
    follow: true,
    models: [],
    model: '',
    serial: 0
};

/* ---- the queue ------------------------------------------------------------------------------------------------------ */

async function blobUrl(data) {
    const comma = data.indexOf(',');
    const raw = atob(data.slice(comma + 1)), size = raw.length, array = new Uint8Array(size);
    for (let i = 0; i < size; i++) array[i] = raw.charCodeAt(i);
    return URL.createObjectURL(new Blob([array], {type: 'image/png'}));
}

async function thumbnail(item) {
    try {
        const bitmap = await createImageBitmap(item.file, {resizeHeight: 96, resizeQuality: 'medium'});
        const canvas = h('canvas', {width: bitmap.width, height: bitmap.height, 'aria-hidden': 'true'});
        canvas.getContext('2d').drawImage(bitmap, 0, 0);
        bitmap.close();
        item.thumb = canvas;
    } catch {
        item.thumb = null; /* a format that only the server reads */
    }
    drawTile(item);
}

const pause = seconds => new Promise(resolve => setTimeout(resolve, 1000 * seconds));

async function scoreOne(item) {
    const form = new FormData();
    form.append('image', item.file, item.name);
    const path = '/score?include=overlay&model=' + encodeURIComponent(item.model);
    for (let attempt = 0;; attempt++) {
        try {
            return await call('POST', path, {body: form});
        } catch (e) {
            if (e.status !== 503 || attempt === 5) throw e;
            await pause(Math.min(5, e.wait));
        }
    }
}

async function work(item) {
    item.state = 'scoring';
    drawTile(item);
    try {
        const result = await scoreOne(item);
        for (const key of ['heat', 'overlay']) {
            item[key] = typeof result[key] === 'string' && result[key].startsWith('data:image/png;base64,') ?
                await blobUrl(result[key]) :
                null;
            delete result[key];
        }
        item.result = result;
        item.state = 'done';
    } catch (e) {
        item.error = e.message;
        item.state = 'failed';
    }
    drawTile(item);
    if (view.follow || view.chosen === item) choose(item, view.follow);
    announce(item);
    pump();
}

function announce(item) {
    if (item.state === 'failed') say(item.name + ' could not be scored. ' + item.error);
    else say(item.name + ': ' + verdicts[verdict(item.result.decision)].word + ', score ' + number(item.result.score));
}

function pump() {
    let running = list.filter(i => i.state === 'scoring').length;
    for (const item of list) {
        if (running >= atOnce) return;
        if (item.state === 'waiting') {
            running += 1;
            work(item);
        }
    }
}

function forget(item) {
    for (const key of ['url', 'heat', 'overlay'])
        if (item[key]) URL.revokeObjectURL(item[key]);
    if (item.tile) item.tile.remove();
}

function addPhotos(files) {
    const photos = [...files].filter(
        f => f.type.startsWith('image/') || /\.(bmp|p[gbpn]m|tiff?|webp)$/i.test(f.name) || f.type === '');
    if (!photos.length) {
        toast('That is no photo. Choose JPEG, PNG, TIFF, BMP or WebP files.', 'error');
        return;
    }
    if (!view.model) {
        toast('There is no model to score with. Load or train one first.', 'error');
        return;
    }
    if (photos.length > most)
        toast(`Only the first ${most} photos are taken. For whole folders, use “cozad score”.`, 'error');
    for (const file of photos.slice(0, most)) {
        const item = {
            id: ++view.serial,
            name: file.name || 'photo',
            file,
            model: view.model,
            state: 'waiting',
            url: URL.createObjectURL(file)
        };
        list.push(item);
        if (view.strip) view.strip.prepend(tile(item));
        thumbnail(item);
    }
    while (list.length > most && list[0].state !== 'scoring') forget(list.shift());
    view.follow = true;
    drawFrame();
    pump();
}

/* ---- the result ----------------------------------------------------------------------------------------------------- */

/* The threshold stands in the middle, whatever the model's scale: left of it is normal, right of it is not. */
function scoreBar(score, threshold) {
    const reach = Math.max(1.25 * Math.abs(score - threshold), 0.5 * Math.abs(threshold), 1e-9);
    const at = Math.min(98, Math.max(2, 50 + 50 * (score - threshold) / reach));
    const mark = h('div', {class: 'score-mark'});
    mark.style.left = at + '%';
    return h(
        'div', {class: 'score-scale'},
        h('div', {class: 'score-bar', role: 'img', 'aria-label': `Score ${number(score)}, limit ${number(threshold)}`},
          h('div', {class: 'score-limit'}), mark),
        h('div', {class: 'score-words', 'aria-hidden': 'true'}, h('span', null, 'normal'),
          h('span', null, 'limit ' + number(threshold)), h('span', null, 'anomaly')));
}

function likelihood(r) {
    if (!known(r.p_value)) return null;
    const part = rarity(r.p_value);
    if (part === 'nearly all') return 'Nearly all good photos score as high as this one.';
    if (r.p_value > 0.1) return `About ${part} good photos score as high as this one.`;
    return (r.p_value > 0.05 ? 'About ' : 'Only about ') + `${part} good photos scores as high as this one.`;
}

const stages = {
    queue: 'waiting',
    decode: 'reading the photo',
    score: 'scoring',
    picture: 'drawing'
};
function timing(ms) {
    if (!ms || typeof ms !== 'object') return null;
    const parts = Object.keys(stages).filter(k => known(ms[k]));
    const total = known(ms.total) ? ms.total : parts.reduce((sum, k) => sum + ms[k], 0);
    if (!known(total)) return null;
    const text = parts.map(k => `${stages[k]} ${ms[k] < 1 ? 'under 1' : Math.round(ms[k])} ms`).join(', ');
    return h('p', {class: 'soft small'}, h('b', null, Math.round(total) + ' ms'), text ? ' – ' + text : '');
}

function resultCard(item) {
    const r = item.result, kind = verdict(r.decision), decided = verdicts[kind];
    const picture = viewer({
        photo: item.thumb === null ? null : item.url,
        heat: item.heat,
        overlay: item.overlay,
        width: r.width,
        height: r.height,
        regions: r.regions,
        name: item.name
    });
    const uncalibrated = !known(r.threshold);
    const head =
        h('div', {class: 'verdict-side'},
          h('div', {class: 'verdict ' + kind}, icon(decided.icon), h('strong', null, decided.word)),
          h('p', {class: 'file-name'}, item.name),
          h('dl', {class: 'facts'}, h('dt', null, 'Score'), h('dd', {class: 'figure'}, number(r.score))),
          uncalibrated ?
              notice(
                  'info', 'This model has no limit yet', 'It cannot decide until a limit was set with good photos.',
                  link('Set a limit on the Train page', '#/train', 'button')) :
              scoreBar(r.score, r.threshold),
          likelihood(r) ? h('p', null, likelihood(r)) : null);
    const more =
        h('div', {class: 'verdict-side'},
          picture.regions ? [h('h3', null, count(r.regions.length, 'marked region')), picture.regions] : null,
          !picture.regions && known(r.pixel_threshold) ? h('p', {class: 'soft'}, 'No region stands out.') : null,
          h('p', {class: 'soft small'},
            `Model ${r.model}` + (r.version ? `, version ${r.version}` : '') + ` · ${r.width} × ${r.height} pixels`),
          timing(r.ms));
    return h('article', {class: 'card result', 'aria-label': 'Result for ' + item.name}, head, picture.node, more);
}

function drawResult() {
    if (!view.result) return;
    const item = view.chosen;
    if (!item) fill(view.result);
    else if (item.state === 'done') fill(view.result, resultCard(item));
    else if (item.state === 'failed') {
        fill(
            view.result,
            h('div', {class: 'card'},
              notice('error', item.name + ' could not be scored', item.error, button('Try again', () => {
                         item.state = 'waiting';
                         drawTile(item);
                         drawResult();
                         pump();
                     }, {icon: 'again'}))));
    } else {
        fill(
            view.result,
            h('div', {class: 'card waiting', role: 'status'}, h('span', {class: 'spinner'}),
              item.state === 'waiting' ? 'Waiting for its turn: ' : 'Scoring: ', item.name));
    }
}

function choose(item, follow) {
    view.chosen = item;
    view.follow = follow;
    for (const other of list) {
        if (other.tile) other.tile.firstChild.setAttribute('aria-pressed', String(other === item));
    }
    drawResult();
}

/* ---- the strip of photos -------------------------------------------------------------------------------------------- */

function tile(item) {
    item.tile = h(
        'li', null,
        h('button', {type: 'button', class: 'tile', 'aria-pressed': 'false', on: {click: () => choose(item, false)}}));
    drawTile(item);
    return item.tile;
}

function drawTile(item) {
    if (!item.tile) return;
    const kind = item.state === 'done' ? verdict(item.result.decision) : item.state;
    const word = {waiting: 'Waiting', scoring: 'Scoring', failed: 'Failed'}[item.state] || verdicts[kind].word;
    const picture = {waiting: 'clock', scoring: 'clock', failed: 'cross'}[item.state] || verdicts[kind].icon;
    fill(
        item.tile.firstChild, h('span', {class: 'tile-photo'}, item.thumb || icon('photo')),
        h('span', {class: 'tile-name'}, item.name), badge(kind, word, picture));
    item.tile.firstChild.setAttribute('aria-pressed', String(item === view.chosen));
}

function drawFrame() {
    if (!view.root) return;
    view.root.classList.toggle('has-photos', list.length > 0);
    if (!view.chosen && list.length) choose(list[list.length - 1], true);
    view.strip.parentNode.hidden = list.length === 0;
    view.strip.previousSibling.firstChild.textContent = count(list.length, 'photo');
}

function clearList() {
    for (const item of list.filter(i => i.state !== 'scoring')) {
        forget(item);
        list.splice(list.indexOf(item), 1);
    }
    choose(list[list.length - 1] || null, true);
    drawFrame();
    say('The list is empty.');
}

/* ---- the page ------------------------------------------------------------------------------------------------------- */

function dropArea() {
    const input = h('input', {
        type: 'file',
        multiple: true,
        accept: 'image/*,.tif,.tiff,.bmp,.pgm,.ppm',
        class: 'hidden',
        id: 'photos',
        tabindex: '-1',
        'aria-label': 'Photos'
    });
    input.addEventListener('change', () => {
        addPhotos(input.files);
        input.value = '';
    });
    return h(
        'section', {class: 'drop card', 'aria-label': 'Photos to score'},
        h('div', {class: 'drop-picture'}, icon('photo')),
        h('div', {class: 'drop-words'}, h('p', {class: 'drop-title'}, 'Drop photos here'),
          h('p', {class: 'soft'}, 'or paste one, choose files, or use a camera')),
        input,
        h('div', {class: 'actions'}, button('Choose photos', () => input.click(), {class: 'main', icon: 'up'}),
          button('Camera', () => openCamera(file => addPhotos([file])), {icon: 'camera'})));
}

function modelChoice(wanted) {
    const ready = view.models.filter(m => m.state === 'READY').map(m => m.name);
    const before = [wanted, view.model, remember('model')].find(m => ready.includes(m));
    view.model = before || ready[0] || '';
    if (wanted && view.model === wanted) remember('model', wanted);
    if (!ready.length) return null;
    const choice = select(ready.map(name => [name, name]), view.model, () => {
        view.model = choice.value;
        remember('model', view.model);
    });
    choice.id = 'model';
    return h('div', {class: 'model-choice'}, h('label', { for: 'model'
             }, 'Model'), choice);
}

function listen(root) {
    const stop = new AbortController(), options = {signal: stop.signal};
    const holdsFiles = event => event.dataTransfer && [...event.dataTransfer.types].includes('Files');
    let depth = 0;
    const lit = on => root.classList.toggle('dropping', on);
    window.addEventListener('dragenter', event => {
        if (holdsFiles(event)) {
            depth += 1;
            lit(true);
        }
    }, options);
    window.addEventListener('dragleave', event => {
        if (holdsFiles(event)) {
            depth -= 1;
            lit(depth > 0);
        }
    }, options);
    window.addEventListener('dragover', event => {
        if (holdsFiles(event)) event.preventDefault();
    }, options);
    window.addEventListener('drop', event => {
        if (!holdsFiles(event)) return;
        event.preventDefault();
        depth = 0;
        lit(false);
        addPhotos(event.dataTransfer.files);
    }, options);
    document.addEventListener('paste', event => {
        if (event.clipboardData && event.clipboardData.files.length) addPhotos(event.clipboardData.files);
    }, options);
    return () => stop.abort();
}

export async function open(root, wanted) {
    view.models = (await get('/api/models')).models || [];
    const choice = modelChoice(wanted);
    const heading = h('div', {class: 'heading'}, h('h1', {tabindex: '-1'}, 'Score photos'), choice);
    if (!choice) {
        fill(
            root, heading,
            h('div', {class: 'card'},
              notice(
                  'empty', 'There is no model to score with yet',
                  'Train one with photos of good parts, or load one that is there already.',
                  link('Train a model', '#/train', 'button main'), link('Look at the models', '#/models', 'button'))));
        return null;
    }
    view.root = root;
    const stay = () => {
        view.follow = false;
    }; /* who works with one result is not taken to the next */
    view.result = h('div', {class: 'result-slot', on: {pointerdown: stay, keydown: stay}});
    view.strip = h('ul', {class: 'strip'}, [...list].reverse().map(tile));
    const strip =
        h('section', {'aria-label': 'Photos of this visit'},
          h('div', {class: 'strip-head'}, h('h2', null, ''),
            button('Clear the list', clearList, {class: 'plain', icon: 'bin'})),
          view.strip);
    fill(root, heading, dropArea(), view.result, strip);
    drawFrame();
    drawResult();
    const stop = listen(root);
    return () => {
        stop();
        view.root = view.result = view.strip = null;
        root.classList.remove('has-photos', 'dropping');
        for (const item of list) item.tile = null;
    };
}
