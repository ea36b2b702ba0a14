/* SPDX-License-Identifier: Apache-2.0 */
/* One training: progress, the photos it distrusts, its limit, its way into use. */
import {at, busy, call, get, post} from './api.js';
import {
    ask,
    badge,
    button,
    count,
    duration,
    field,
    fill,
    h,
    known,
    link,
    nameHint,
    nameRule,
    notice,
    number,
    say,
    select,
    toast,
    when
} from './dom.js';
import {datasetLink, jobBadge, jobLink, progressBar, steps} from './train.js';

const phases = {
    queued: 'Waiting for its turn',
    starting: 'Starting',
    load: 'Reading the photos',
    features: 'Looking at the photos',
    precision: 'Trying faster arithmetic',
    train: 'Learning',
    training: 'Learning',
    statistics: 'Taking stock of all photos',
    comparing: 'Comparing the photos with each other',
    confidence: 'Looking for photos not to trust',
    calibrate: 'Setting the limit',
    calibration: 'Setting the limit',
    save: 'Judging the photos and writing the model',
    inspect: 'Looking for photos not to trust',
};
const methods = {
    simplenet: 'sorted photos',
    comet: 'unsorted photos'
};
/* Good photos that a promise takes, by the share of good ones that may be flagged (95 % confidence). */
const promises = [[0.01, '1 in 100', 299], [0.02, '2 in 100', 149], [0.05, '5 in 100', 59], [0.1, '10 in 100', 29]];
const active = job => job.state === 'queued' || job.state === 'running';

/* ---- running -------------------------------------------------------------------------------------------------------- */

function progressCard(job, cancel) {
    const step = /^train/.test(job.phase) && known(job.step) && known(job.steps) && job.steps > 0 ?
        `step ${job.step.toLocaleString('en')} of ${job.steps.toLocaleString('en')}` :
        '';
    const words = [phases[job.phase] || job.phase || phases[job.state] || 'Working', step].filter(Boolean).join(', ');
    return [
        h('p', {class: 'phase'},
          job.cancelling             ? 'Being cancelled' :
              job.state === 'queued' ? phases.queued :
                                       words),
        progressBar(job), job.message ? h('p', {class: 'soft'}, job.message) : null,
        h('p', {class: 'soft'}, 'You can close this page: the training goes on, also after a restart of the server.'),
        h('div', {class: 'actions'}, cancel)
    ];
}

function endCard(job) {
    const again = link('Back to its photos', datasetLink(job.dataset), 'button main');
    if (job.state === 'failed')
        return notice(
            'error', 'The training failed', job.message || 'No reason was given; the server’s log may say more.',
            again);
    if (job.state === 'cancelled') return notice('info', 'The training was cancelled', job.message, again);
    const took = known(Date.parse(job.ended) - Date.parse(job.started)) ?
        duration((Date.parse(job.ended) - Date.parse(job.started)) / 1000) :
        '';
    return notice(
        'done', 'The model is trained',
        [job.photos ? `It learnt from ${count(job.photos, 'photo')}` : '', took ? `in ${took}` : '']
                .filter(Boolean)
                .join(' ') +
            '.' +
            (job.failed_photos ? ` ${count(job.failed_photos, 'photo')} could not be read and were left out.` : ''));
}

/* ---- photos it distrusts -------------------------------------------------------------------------------------------- */

function distrustCell(job, photo, out, changed) {
    const tick = h('input', {type: 'checkbox', checked: out.has(photo.name)});
    const words = h('span', null, '');
    const draw = () => {
        words.textContent = tick.checked ? 'Leave out' : 'Keep';
        cell.classList.toggle('left-out', tick.checked);
    };
    const cell =
        h('li', null,
          h('label', {class: 'pick'}, h('img', {
                src: at('api', 'datasets', job.dataset, 'photos', photo.name) + '?size=240',
                alt: '',
                loading: 'lazy',
                width: 240,
                height: 240
            }),
            h('span', {class: 'file-name', title: photo.name}, photo.name),
            photo.suspect ? badge('anomalous', 'Stands apart', 'alert') : null,
            known(photo.confidence) ?
                h('span', {class: 'soft small'}, 'trust ' + Math.round(100 * photo.confidence) + ' %') :
                null,
            h('span', {class: 'tick'}, tick, words, h('span', {class: 'hidden'}, ' photo ' + photo.name))));
    tick.addEventListener('change', () => {
        if (tick.checked) out.add(photo.name);
        else out.delete(photo.name);
        draw();
        changed();
    });
    draw();
    return cell;
}

async function distrustCard(job) {
    const card =
        h('section', {class: 'card', 'aria-label': 'Check photos'}, h('h2', null, 'Check the photos it trusts least'));
    let answer;
    try {
        answer = await get(at('api', 'jobs', job.id, 'distrusted'));
    } catch (e) {
        card.append(
            e.status === 404 || e.status === 400 || e.status === 409 ?
                h('p', {class: 'soft'}, e.message) :
                notice('error', 'The list could not be read', e.message));
        return card;
    }
    const photos = answer.photos || [], out = new Set(answer.excluded || []);
    if (!photos.length) {
        card.append(
            h('p', {class: 'soft'},
              job.method === 'comet' ?
                  'There is no photo to look at.' :
                  'This training took all photos for good. To have them judged, train on them as “unsorted”.'));
        return card;
    }
    /* Those that are left out already are in `out`, shown or not: the server takes the whole list each time. */
    let limit = Math.max(12, photos.filter(p => p.suspect).length);
    const grid = h('ul', {class: 'grid'}), more = button('Show more', () => {
                                               limit += 96;
                                               draw();
                                           });
    const retrain = button('', null, {class: 'main', icon: 'again'}), wrong = h('p', {class: 'wrong', role: 'alert'});
    const changed = () => {
        retrain.lastChild.replaceWith(out.size ? `Train again without ${count(out.size, 'photo')}` : 'Train again');
        retrain.disabled = out.size === 0;
    };
    const draw = () => {
        for (const photo of photos.slice(grid.children.length, limit))
            grid.append(distrustCell(job, photo, out, changed));
        more.hidden = photos.length <= limit;
    };
    retrain.append('');
    retrain.addEventListener(
        'click',
        busy(
            retrain,
            async () => {
                wrong.textContent = '';
                await post(at('api', 'jobs', job.id, 'exclude'), {photos: [...out]});
                const next = await post('/api/jobs', {dataset: job.dataset, name: job.name, method: job.method});
                location.hash = jobLink(next);
            },
            text => {
                wrong.textContent = text;
            }));
    changed();
    draw();
    fill(
        card, card.firstChild,
        known(answer.contamination) ?
            h('p', null,
              `It judges that about ${number(100 * answer.contamination, 2)} % of the photos show something unusual.`) :
            null,
        h('p', null,
          'Worst first. Tick those that show a defect; they are left out of the next training. A photo that is good, only unusual, is worth keeping.'),
        answer.warning ? notice('info', 'Please note', answer.warning) : null, grid, h('div', {class: 'actions'}, more),
        h('div', {class: 'actions'}, retrain), wrong);
    return card;
}

/* ---- the limit ------------------------------------------------------------------------------------------------------ */

function limitState(calibration) {
    if (!calibration) return null;
    if (active(calibration))
        return h('div', {role: 'status'}, h('p', {class: 'phase'}, 'Setting the limit…'), progressBar(calibration));
    if (calibration.state === 'failed')
        return notice('error', 'The limit was not set', calibration.message || 'No reason was given.');
    if (calibration.state !== 'done') return null;
    const r = calibration.result || {}, percent = v => number(100 * v, 2) + ' %';
    const text = [
        known(r.threshold) ? `Scores above ${number(r.threshold)} are anomalies.` : '',
        known(r.promise) && r.promise < 1 ? `At most ${percent(r.promise)} of good photos will be flagged by mistake.` :
                                            '',
        known(r.target) && r.promise > r.target && r.images_needed > r.images ?
            `For ${percent(r.target)}, add ${count(r.images_needed - r.images, 'good photo')} and set it again.` :
            ''
    ].filter(Boolean).join(' ');
    return notice('done', 'The limit is set', text);
}

function limitCard(job, sets, calibrated) {
    const card = h('section', {class: 'card', 'aria-label': 'Set the limit'}), state = h('div');
    const others = sets.filter(d => d.name !== job.dataset && d.count > 0);
    const wrong = h('p', {class: 'wrong', role: 'alert'});
    fill(
        card, h('h2', null, 'Set the limit'),
        h('p', null,
          'From which score on is a photo an anomaly? That is found with further good photos: ones that the model has not learnt from.'),
        state);
    if (others.length) {
        const choice = select(others.map(d => [d.name, d.name + ' – ' + count(d.count, 'photo')]), others[0].name);
        const alpha = select(promises.map(([value, text]) => [String(value), text]), '0.01'),
              need = h('p', {class: 'hint'});
        const advise = () => {
            const set = others.find(d => d.name === choice.value),
                  [, , photos] = promises.find(([value]) => String(value) === alpha.value);
            need.textContent = set.count < photos ? `To promise this, ${photos} good photos are needed. With ${
                                                        set.count} the limit is set as well as they allow.` :
                                                    'There are enough photos to promise this.';
        };
        choice.addEventListener('change', advise);
        alpha.addEventListener('change', advise);
        advise();
        const start = h('button', {type: 'submit', class: 'main'}, 'Set the limit');
        const form =
            h('form', {class: 'inline-form'}, field('Good photos', choice),
              field('Good photos flagged by mistake: at most', alpha), start, need, wrong);
        form.addEventListener(
            'submit',
            busy(
                start,
                async () => {
                    wrong.textContent = '';
                    calibrated(await post(
                        at('api', 'jobs', job.id, 'calibrate'), {dataset: choice.value, alpha: Number(alpha.value)}));
                },
                text => {
                    wrong.textContent = text;
                }));
        card.append(form);
    }
    const make = button(
        others.length ? 'Add another data set of good photos' : 'Add good photos for it', null,
        {class: others.length ? 'plain' : 'main'});
    make.addEventListener('click', busy(make, async () => {
                              const taken = new Set(sets.map(d => d.name));
                              let name = job.dataset.slice(0, 50) + '-limit';
                              for (let i = 2; taken.has(name); i++) name = job.dataset.slice(0, 50) + '-limit-' + i;
                              await post('/api/datasets', {name});
                              location.hash = datasetLink(name);
                          }, text => toast(text, 'error')));
    card.append(h('div', {class: 'actions'}, make));
    return {card, draw: calibration => fill(state, limitState(calibration))};
}

/* ---- into use ------------------------------------------------------------------------------------------------------- */

/* Gives {card, draw}: it waits while a limit is being set, so that the limit is part of what comes into use. */
function useCard(job) {
    const card = h('section', {class: 'card', 'aria-label': 'Use the model'});
    const name = h('input', {
        required: true,
        pattern: nameRule,
        maxlength: '63',
        value: job.activated || job.name,
        autocomplete: 'off',
        spellcheck: 'false'
    });
    const start = h('button', {type: 'submit', class: 'main'}, 'Use it'),
          wrong = h('p', {class: 'wrong', role: 'alert'}), state = h('div', {role: 'status'});
    const tell = as => fill(
                     state,
                     notice(
                         'done', `It is in use as “${as}”`, 'Photos can be scored with it now.',
                         link('Score photos with it', '#/score/' + encodeURIComponent(as), 'button main')));
    const form =
        h('form', {class: 'inline-form'}, field('Name in use', name, nameHint + ' A model of this name is replaced.'),
          start, wrong);
    form.addEventListener(
        'submit',
        busy(
            start,
            async () => {
                wrong.textContent = '';
                const answer = await post(at('api', 'jobs', job.id, 'activate'), {as: name.value.trim()});
                tell((answer && (answer.as || answer.name)) || name.value.trim());
            },
            text => {
                wrong.textContent = text;
            }));
    fill(
        card, h('h2', null, 'Use the model'),
        h('p', {class: 'soft'},
          'Without a limit it gives scores and heat maps, but no decisions. After a new limit, press the button again.'),
        state, form);
    if (job.activated) tell(job.activated);
    return {
        card,
        draw: calibration => {
            start.disabled = Boolean(calibration && active(calibration));
        }
    };
}

/* ---- the page ------------------------------------------------------------------------------------------------------- */

export async function open(root, id) {
    let job = await get(at('api', 'jobs', id)), timer = 0, gone = false, limit = null, use = null, calibration = null;
    if (job.source) job = await get(at('api', 'jobs', id = job.source));
    const place = h('div'), badgeSlot = h('span'), progress = h('section', {class: 'card', 'aria-label': 'Progress'}),
          body = h('div', {class: 'job-parts'});
    const cancel = button('Cancel the training', null, {icon: 'cross'});
    cancel.addEventListener('click', async () => {
        if (!await ask('Cancel this training?', 'What it has learnt so far is lost.', 'Cancel the training')) return;
        await call('DELETE', at('api', 'jobs', id)).catch(e => toast(e.message, 'error'));
        poll();
    });
    const remove = button('Delete this training', async () => {
        if (!await ask(
                'Delete this training?', 'The trained model is deleted from the list. A model that is in use stays.',
                'Delete'))
            return;
        try {
            await call('DELETE', at('api', 'jobs', id));
            location.hash = '#/train';
        } catch (e) {
            toast(e.message, 'error');
        }
    }, {icon: 'bin', class: 'plain'});

    async function finish() {
        if (job.state !== 'done') {
            fill(body, h('p', null, remove));
            return;
        }
        const [distrusted, sets] = await Promise.all([distrustCard(job), get('/api/datasets')]);
        limit = limitCard(job, sets.datasets || [], answer => {
            if (answer && answer.id) calibration = answer;
            poll();
        });
        use = useCard(job);
        await findCalibration();
        fill(body, distrusted, limit.card, use.card, h('p', null, remove));
    }
    async function findCalibration() {
        const all = ((await get('/api/jobs')).jobs || []).filter(j => j.source === id);
        const newest = all.sort((a, b) => String(b.created).localeCompare(String(a.created)))[0];
        const before = calibration && calibration.state;
        calibration = newest || null;
        limit.draw(calibration);
        use.draw(calibration);
        if (calibration && before && before !== calibration.state && calibration.state === 'done')
            say('The limit is set.');
        draw();
    }
    function draw() {
        const limited = calibration && calibration.state === 'done';
        fill(badgeSlot, jobBadge(job.state));
        fill(place, steps(active(job) || job.state !== 'done' ? 1 : job.activated ? 5 : limited ? 4 : 2));
    }
    function drawProgress() {
        const focused = document.activeElement === cancel;
        fill(progress, active(job) ? progressCard(job, cancel) : endCard(job));
        if (focused && active(job)) cancel.focus();
        draw();
    }
    async function poll() {
        clearTimeout(timer);
        try {
            if (active(job)) {
                const now = await get(at('api', 'jobs', id));
                if (gone) return;
                const ended = !active(now);
                job = now;
                drawProgress();
                if (ended) {
                    say(job.state === 'done' ? 'The model is trained.' : 'The training ended: ' + job.state);
                    await finish();
                }
            } else if (limit) await findCalibration();
        } catch (e) {
            if (e.status === 404) {
                location.hash = '#/train';
                return;
            }
        }
        if (!gone && (active(job) || (calibration && active(calibration)))) timer = setTimeout(poll, 1000);
    }

    fill(
        root, h('p', {class: 'crumbs'}, link('Train', '#/train'), ' › ', link(job.dataset, datasetLink(job.dataset))),
        h('div', {class: 'heading'}, h('h1', {tabindex: '-1'}, job.name), badgeSlot),
        h('p', {class: 'soft'},
          ['Started ' + when(job.started || job.created), methods[job.method] || ''].filter(Boolean).join(', ')),
        place, progress, body);
    drawProgress();
    if (!active(job)) await finish();
    if (active(job) || (calibration && active(calibration))) timer = setTimeout(poll, 1000);
    return () => {
        gone = true;
        clearTimeout(timer);
    };
}
