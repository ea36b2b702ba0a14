/* SPDX-License-Identifier: Apache-2.0 */
/* Page "Train": data sets and trainings; one of each has a page of its own. */
import {at, busy, get, post} from './api.js';
import {open as openDataset} from './dataset.js';
import {
    badge,
    bytes,
    count,
    duration,
    field,
    fill,
    h,
    icon,
    known,
    link,
    nameHint,
    nameRule,
    notice,
    when
} from './dom.js';
import {open as openJob} from './job.js';

export const jobWords = {
    queued: ['none', 'Waiting', 'clock'],
    running: ['busy', 'Running', 'again'],
    done: ['normal', 'Done', 'check'],
    failed: ['anomalous', 'Failed', 'alert'],
    cancelled: ['none', 'Cancelled', 'cross'],
};
export const jobBadge = state => badge(...(jobWords[state] || ['none', state, 'question']));
export const jobLink = job => '#/train/job/' + encodeURIComponent(job.id);
export const datasetLink = name => '#/train/data/' + encodeURIComponent(name);

/* The way from photos to a model in use; `current`: 0 to 4. */
export function steps(current) {
    return h(
        'ol', {class: 'steps', 'aria-label': 'Steps'},
        ['Photos', 'Train', 'Check photos', 'Set the limit', 'Use'].map(
            (text, i) =>
                h('li', {class: i < current ? 'past' : null, 'aria-current': i === current ? 'step' : null},
                  h('span', {class: 'step-number'}, i < current ? icon('check') : i + 1), text)));
}

export function progressBar(job) {
    const last = job.phase === 'save'; /* how long that takes is not known */
    const share = known(job.progress) && !last ? Math.max(0, Math.min(1, job.progress)) : null;
    const bar = h('progress', {max: 1, 'aria-label': 'Progress of ' + job.name});
    if (share !== null) bar.value = share;
    const left = last ? '' : duration(job.eta_seconds);
    return h('div', {class: 'progress'}, bar, h('span', {class: 'soft'}, [
                 share !== null ? Math.floor(100 * share) + ' %' :
                     last       ? 'nearly done' :
                                  'starting',
                 left ? left + ' left' : ''
             ].filter(Boolean).join(', ')));
}

function datasetCard(d) {
    return h(
        'li', null,
        h('a', {class: 'card entry', href: datasetLink(d.name)},
          h('span', {class: 'entry-name'}, icon('layers'), d.name), h('span', {class: 'soft'}, [
              count(d.count, 'photo'), d.count ? bytes(d.bytes) : '', d.busy ? 'in training' : ''
          ].filter(Boolean).join(' · '))));
}

function jobCard(job) {
    const line = job.state === 'running' ? progressBar(job) : h('span', {class: 'soft'}, [
        job.photos ? count(job.photos, 'photo') : '', when(job.ended || job.created),
        job.activated ? 'in use as ' + job.activated : ''
    ].filter(Boolean).join(' · '));
    return h(
        'li', null,
        h('a', {class: 'card entry', href: job.source ? '#/train/job/' + encodeURIComponent(job.source) : jobLink(job)},
          h('span', {class: 'entry-name'}, job.source ? 'Limit for ' + job.name : job.name), jobBadge(job.state),
          line));
}

function newDataset() {
    const name = h('input', {
        required: true,
        pattern: nameRule,
        maxlength: '63',
        autocomplete: 'off',
        spellcheck: 'false',
        placeholder: 'e.g. bottle-caps'
    });
    const make = h('button', {type: 'submit', class: 'main'}, 'Create');
    const wrong = h('p', {class: 'wrong', role: 'alert'});
    const form = h('form', {class: 'inline-form'}, field('Name of the new data set', name, nameHint), make, wrong);
    form.addEventListener(
        'submit',
        busy(
            make,
            async () => {
                wrong.textContent = '';
                await post('/api/datasets', {name: name.value.trim()});
                location.hash = datasetLink(name.value.trim());
            },
            text => {
                wrong.textContent = text;
            }));
    return form;
}

async function overview(root) {
    let timer = 0, gone = false;
    const lists = h('div');
    async function draw() {
        const [data, work] = await Promise.all([get('/api/datasets'), get('/api/jobs')]);
        if (gone) return;
        const sets = data.datasets || [],
              jobs = [...(work.jobs || [])].sort((a, b) => String(b.created).localeCompare(String(a.created)));
        const focus = document.activeElement && lists.contains(document.activeElement) ?
            document.activeElement.getAttribute('href') :
            null;
        fill(
            lists,
            h('section', null, h('h2', null, 'Trainings'),
              jobs.length ?
                  h('ul', {class: 'entries'}, jobs.map(jobCard)) :
                  notice('empty', 'Nothing was trained yet', 'Open a data set with photos and press “Train”.')),
            h('section', null, h('h2', null, 'Data sets'),
              sets.length ? h('ul', {class: 'entries'}, sets.map(datasetCard)) :
                            notice(
                                'empty', 'No photos yet',
                                'Give a first data set a name above, then add 20 or more photos of the part to it.')));
        if (focus) {
            const again = [...lists.querySelectorAll('a')].find(a => a.getAttribute('href') === focus);
            if (again) again.focus();
        }
        clearTimeout(timer);
        if (jobs.some(j => j.state === 'running' || j.state === 'queued'))
            timer = setTimeout(() => draw().catch(() => {}), 2000);
    }
    await draw();
    fill(
        root, h('div', {class: 'heading'}, h('h1', {tabindex: '-1'}, 'Train a model')), steps(0),
        h('section', {class: 'card'}, h('h2', null, 'Start with photos'),
          h('p', null,
            'Put photos of one kind of part, from one camera place, into a data set. 20 are enough to try, 100 and more are better.'),
          newDataset()),
        lists);
    return () => {
        gone = true;
        clearTimeout(timer);
    };
}

export async function open(root, kind, id) {
    try {
        if (kind === 'data' && id) return await openDataset(root, id);
        if (kind === 'job' && id) return await openJob(root, id);
        return await overview(root);
    } catch (e) {
        if (e.status !== 404) throw e;
        fill(
            root, h('h1', {tabindex: '-1'}, 'Train a model'),
            h('div', {class: 'card'},
              kind ? notice(
                         'error', 'This is not there any more', e.message,
                         link('All data sets and trainings', '#/train', 'button main')) :
                     notice(
                         'info', 'This server does not train',
                         e.message + ' Whoever runs it can allow training with a folder for it: --state-dir.')));
        return null;
    }
}
