/* SPDX-License-Identifier: Apache-2.0 */
/* One data set: photos in and out, and the form that starts a training. */
import {at, busy, call, get, post} from './api.js';
import {ask, button, bytes, count, field, fill, h, icon, link, nameHint, nameRule, notice, say, toast} from './dom.js';
import {jobLink, steps} from './train.js';

const atOnce = 2, shownAtFirst = 120, page = 5000;

/* A name that the server takes: its rule is [A-Za-z0-9._-], 63 characters, no dot first. */
export function safeName(name, taken, type = '') {
    let clean = name.normalize('NFKD')
                    .replace(/[\u0300-\u036f]/g, '')
                    .replace(/[^A-Za-z0-9._-]+/g, '-')
                    .replace(/^[.-]+/, '') ||
        'photo';
    if (!/\.[A-Za-z0-9]{2,5}$/.test(clean) && type.startsWith('image/'))
        clean += '.' + type.slice(6).replace('jpeg', 'jpg').replace(/[^a-z].*/, '');
    const dot = clean.lastIndexOf('.'), tail = dot > 0 && clean.length - dot <= 6 ? clean.slice(dot) : '';
    const stem = clean.slice(0, clean.length - tail.length).replace(/-+$/, '') || 'photo';
    for (let i = 1;; i++) {
        const extra = i === 1 ? '' : '-' + i;
        clean = stem.slice(0, 63 - tail.length - extra.length) + extra + tail;
        if (!taken.has(clean)) return clean;
    }
}

/* All photos of it; asked for in parts. */
async function readAll(name) {
    const set = await get(at('api', 'datasets', name) + '?most=' + page);
    for (let next = set.next; next;) {
        const part = await get(at('api', 'datasets', name) + `?most=${page}&from=${next}`);
        set.photos.push(...part.photos);
        next = part.next;
    }
    return set;
}

/* Sends photos, a few at a time. */
function uploader(name, photos, changed) {
    const bar = h('progress', {max: 1, value: 0, 'aria-label': 'Upload'}), words = h('span', {class: 'soft'});
    const stopper = button('Stop', () => {
        queue.length = 0;
    }, {class: 'plain'});
    const failures = h('ul', {class: 'failures'}),
          failed =
              h('div', {class: 'notice error', role: 'alert'}, icon('alert'),
                h('div', null, h('p', {class: 'notice-title'}, 'Some photos were not taken'), failures));
    const node = h('div', {class: 'upload'}, h('div', {class: 'progress'}, bar, words, stopper), failed);
    const queue = [], taken = new Set(photos.map(p => p.name)); /* names on the server or on their way */
    let total = 0, done = 0, bad = 0, same = 0, running = 0;
    node.hidden = failed.hidden = true;

    function draw() {
        bar.value = total ? done / total : 0;
        const active = running > 0 || queue.length > 0;
        stopper.hidden = !queue.length;
        bar.hidden = !active;
        words.textContent = active ? `${done} of ${total} photos` :
                                     `${count(done - bad - same, 'photo')} added` +
                (same ? `, ${same} already there` : '') + (bad ? `, ${bad} not taken` : '');
        if (!active) say(words.textContent);
    }

    async function one(file) {
        const target = safeName(file.name, taken, file.type);
        taken.add(target);
        try {
            const answer = await call(
                'PUT', at('api', 'datasets', name, 'photos', target),
                {body: file, type: file.type || 'application/octet-stream'});
            if (answer.duplicate) same += 1;
            else photos.push({name: target, bytes: file.size});
        } catch (e) {
            taken.delete(target);
            bad += 1;
            failed.hidden = false;
            if (bad <= 100) failures.append(h('li', null, h('b', null, file.name), ': ', e.message));
            if (e.status === 507 || e.status === 0) queue.length = 0; /* the next ones would fail alike */
        }
    }

    async function lane() {
        running += 1;
        while (queue.length) {
            await one(queue.shift());
            done += 1;
            draw();
            if (done % 10 === 0) changed();
        }
        running -= 1;
        if (!running) {
            total = done;
            draw();
            changed();
        }
    }

    function start(files) {
        if (!running) {
            total = done = bad = same = 0;
            failures.replaceChildren();
            failed.hidden = true;
        }
        queue.push(...files);
        total += files.length;
        node.hidden = false;
        draw();
        while (running < Math.min(atOnce, queue.length + running) && queue.length) lane();
    }
    return {node, start};
}

function photoGrid(name, photos, changed) {
    let limit = shownAtFirst;
    const grid = h('ul', {class: 'grid'}), more = button('Show more', () => {
                                               limit += 4 * shownAtFirst;
                                               draw();
                                           });
    const cells = new Map();
    function cell(photo) {
        const remove = button('', null, {icon: 'bin', class: 'plain', name: 'Remove ' + photo.name});
        remove.addEventListener('click', busy(remove, async () => {
                                    await call('DELETE', at('api', 'datasets', name, 'photos', photo.name));
                                    photos.splice(photos.indexOf(photo), 1);
                                    say(photo.name + ' was removed');
                                    changed();
                                }, text => toast(text, 'error')));
        return h(
            'li', {class: photo.excluded ? 'left-out' : null}, h('img', {
                src: at('api', 'datasets', name, 'photos', photo.name) + '?size=240',
                alt: '',
                loading: 'lazy',
                width: 240,
                height: 240
            }),
            h('div', {class: 'grid-words'}, h('span', {class: 'file-name', title: photo.name}, photo.name), remove),
            photo.excluded ? h('span', {class: 'soft small'}, 'left out of training') : null);
    }
    function draw() {
        const shown = photos.slice(0, limit);
        for (const [photo, e] of cells)
            if (!shown.includes(photo)) {
                e.remove();
                cells.delete(photo);
            }
        for (const photo of shown) {
            if (!cells.has(photo)) cells.set(photo, cell(photo));
            grid.append(cells.get(photo));
        }
        more.hidden = photos.length <= limit;
    }
    return {node: h('div', null, grid, more), draw};
}

function methodCard(value, title, text, checked) {
    const input = h('input', {type: 'radio', name: 'method', value, checked});
    return h('label', {class: 'choice'}, input, h('span', null, h('b', null, title), h('span', {class: 'soft'}, text)));
}

function trainForm(name, photos) {
    const model =
        h('input',
          {required: true, pattern: nameRule, maxlength: '63', value: name, autocomplete: 'off', spellcheck: 'false'});
    const epochs = h('input', {type: 'number', min: '1', max: '1000', step: '1', placeholder: 'as recommended'});
    const start = h('button', {type: 'submit', class: 'main big'}, 'Train');
    const wrong = h('p', {class: 'wrong', role: 'alert'}), few = h('p', {class: 'hint'});
    const form = h(
        'form', {class: 'card train-form'}, h('h2', null, 'Train'),
        h('fieldset', null, h('legend', null, 'What is in these photos?'),
          methodCard(
              'simplenet', 'Sorted: all photos are good',
              'Somebody checked that no photo shows a defect. This is the quicker way.', true),
          methodCard(
              'comet', 'Unsorted: some may be defective',
              'Photos as they come from the line. The training finds out which ones not to trust, and shows them to you.',
              false)),
        field('Name of the model', model, nameHint),
        h('details', null, h('summary', null, 'More settings'),
          field('Passes over the photos', epochs, 'More passes take longer. Leave it empty for the usual number.')),
        h('div', {class: 'actions'}, start, few), wrong);
    form.addEventListener(
        'submit',
        busy(
            start,
            async () => {
                wrong.textContent = '';
                const order = {dataset: name, name: model.value.trim(), method: new FormData(form).get('method')};
                if (epochs.value) order.epochs = Number(epochs.value);
                const job = await post('/api/jobs', order);
                location.hash = jobLink(job);
            },
            text => {
                wrong.textContent = text;
            }));
    const draw = () => {
        const used = photos.filter(p => !p.excluded).length;
        form.hidden = photos.length === 0;
        few.textContent = used < 20 ? `${count(used, 'photo')}: 20 or more make a model that can be relied on.` :
                                      count(used, 'photo') + ' will be learnt from.';
    };
    return {node: form, draw};
}

export async function open(root, name) {
    const set = await readAll(name), photos = set.photos, total = h('span', {class: 'soft'});
    const changed = () => {
        total.textContent = photos.length ?
            count(photos.length, 'photo') + ', ' + bytes(photos.reduce((sum, p) => sum + (p.bytes || 0), 0)) :
            '';
        empty.hidden = photos.length > 0;
        root.classList.toggle('has-photos', photos.length > 0);
        grid.draw();
        form.draw();
    };
    const grid = photoGrid(name, photos, () => changed()), form = trainForm(name, photos),
          upload = uploader(name, photos, changed);
    const empty = notice(
        'empty', 'No photos in it yet',
        'Add photos above: 20 are enough to try, 100 and more are better. All of one kind of part, from one camera place, in the light of the line.');
    const input = h('input', {
        type: 'file',
        multiple: true,
        accept: 'image/*,.tif,.tiff,.bmp,.pgm,.ppm',
        class: 'hidden',
        id: 'more-photos',
        tabindex: '-1',
        'aria-label': 'Photos for this data set'
    });
    input.addEventListener('change', () => {
        const files = [...input.files];
        input.value = '';
        if (files.length) upload.start(files);
    });
    const zone = h(
        'section', {class: 'drop card', 'aria-label': 'Add photos'}, h('div', {class: 'drop-picture'}, icon('photo')),
        h('div', {class: 'drop-words'}, h('p', {class: 'drop-title'}, 'Drop photos here'),
          h('p', {class: 'soft'}, 'many at once are fine')),
        input, h('div', {class: 'actions'}, button('Choose photos', () => input.click(), {class: 'main', icon: 'up'})),
        upload.node);
    zone.addEventListener('dragover', event => {
        event.preventDefault();
        zone.classList.add('over');
    });
    zone.addEventListener('dragleave', () => zone.classList.remove('over'));
    zone.addEventListener('drop', event => {
        event.preventDefault();
        zone.classList.remove('over');
        if (event.dataTransfer.files.length) upload.start([...event.dataTransfer.files]);
    });
    const remove = button('Delete this data set', async () => {
        if (!await ask(
                'Delete this data set?',
                `${count(photos.length, 'photo')} of “${
                    name}” will be deleted from the server. Models that learnt from them stay.`,
                'Delete'))
            return;
        try {
            await call('DELETE', at('api', 'datasets', name));
            location.hash = '#/train';
        } catch (e) {
            toast(e.message, 'error');
        }
    }, {icon: 'bin', class: 'plain'});
    fill(
        root, h('p', {class: 'crumbs'}, link('Train', '#/train')),
        h('div', {class: 'heading'}, h('h1', {tabindex: '-1'}, name), total), steps(0), zone,
        h('div', {class: 'two'}, h('section', {'aria-label': 'Photos'}, h('h2', null, 'Photos'), empty, grid.node),
          form.node),
        h('p', null, remove));
    changed();
    return null;
}
