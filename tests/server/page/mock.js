/* SPDX-License-Identifier: Apache-2.0 */
/* A stand-in for cozad serve: the same routes, made-up scores. For the test of the page alone: mock.js [PORT [PAGE-FOLDER]]. A photo is
 * anomalous if its name contains "hole". */
'use strict';
const fs = require('node:fs');
const http = require('node:http');
const path = require('node:path');
const {heat, hole} = require('./png.js');

const web = path.resolve(process.argv[3] || path.join(__dirname, '../../../tools/server/web'));
const page = 'a-page-token', secret = process.env.MOCK_SECRET || '';
const types = {
    '.html': 'text/html; charset=utf-8',
    '.css': 'text/css; charset=utf-8',
    '.js': 'text/javascript; charset=utf-8',
    '.svg': 'image/svg+xml',
    '.json': 'application/json'
};
const policy = 'default-src \'self\'; img-src \'self\' data: blob:; media-src \'self\' blob:';
const state = {
    models: [],
    sets: new Map(),
    jobs: [],
    history: [],
    last: 0
};

class Wrong extends Error {
    constructor(status, text) {
        super(text);
        this.status = status;
    }
}
const need = (thing, what) => {
    if (!thing) throw new Wrong(404, `there is no ${what}`);
    return thing;
};
const now = () => new Date().toISOString();

function addModel(name, calibrated, more) {
    state.models = state.models.filter(m => m.name !== name);
    state.models.push({
        name,
        version: '9f31c07be2a4d518',
        state: 'READY',
        reason: null,
        calibrated,
        calibration: calibrated ?
            {rule: 'fpr', threshold: 0.512, pixel_threshold: 0.61, images: 29, promise: 0.1, confidence: 0.95} :
            null,
        method: 'simplenet',
        detector: 'simplenet',
        backbone: {name: 'builtin-1'},
        input: {width: 256, height: 256},
        images: 20,
        drift: false,
        loaded: now(),
        modified: now(),
        precision: 'fp32',
        ...more
    });
}

function scored(name, model) {
    const bad = /hole/.test(name), score = bad ? 0.874 : 0.231 + 0.1 * Math.random(), size = 256;
    const box = {
        x: Math.round((hole.x - hole.radius) * size),
        y: Math.round((hole.y - hole.radius) * size),
        width: Math.round(2 * hole.radius * size),
        height: Math.round(2 * hole.radius * size),
        area: 1660,
        peak: 0.93
    };
    const decision = !model.calibrated ? null :
        bad                            ? 'anomalous' :
                                         'normal',
          p = model.calibrated ? bad ? 0.0099 : 0.62 : null;
    state.history.unshift(
        {id: ++state.last, time: now(), model: model.name, name, score, p_value: p, decision, client: '127.0.0.1'});
    return {
        model: model.name,
        version: model.version,
        name,
        score,
        threshold: model.calibrated ? 0.512 : null,
        p_value: p,
        decision,
        pixel_threshold: model.calibrated ? 0.61 : null,
        width: size,
        height: size,
        regions: bad && model.calibrated ? [box] : [],
        ms: {queue: 0.2, decode: 3.1, score: 24.6, picture: 5.2, total: 33.1},
        heat: 'data:image/png;base64,' + heat().toString('base64'),
        overlay: 'data:image/png;base64,' + heat().toString('base64')
    };
}

const jobJson = j => {
    const since = (Date.now() - j.begun) / j.length, running = j.state === 'running' && since < 1;
    if (j.state === 'running' && !running) {
        j.state = 'done';
        j.ended = now();
        if (j.source) {
            j.result = {threshold: 0.512};
            state.jobs.find(o => o.id === j.source).limited = true;
        }
    }
    return {
        id: j.id,
        name: j.name,
        dataset: j.dataset,
        source: j.source,
        state: j.state,
        method: j.method,
        created: j.created,
        started: j.created,
        ended: j.ended,
        progress: Math.min(1, since),
        phase: since < 0.3 ? 'features' : 'train',
        step: Math.round(40 * since),
        steps: 40,
        loss: 0.4,
        eta_seconds: running ? (1 - since) * j.length / 1000 * 60 : null,
        message: '',
        photos: j.photos,
        failed_photos: 0,
        activated: j.activated || null,
        result: j.result || null
    };
};
function addJob(fields, length) {
    const job = {
        id: 'j' + (state.jobs.length + 1),
        state: 'running',
        created: now(),
        ended: null,
        begun: Date.now(),
        length,
        ...fields
    };
    state.jobs.push(job);
    return job;
}
const setJson = s => ({
    name: s.name,
    created: s.created,
    count: s.photos.size,
    bytes: [...s.photos.values()].reduce((n, b) => n + b.length, 0)
});
const job = id => need(state.jobs.find(j => j.id === id), 'training of this id');
const set = name => need(state.sets.get(name), 'data set of this name');
const model = name => need(state.models.find(m => m.name === name), 'model of this name');

function multipart(request, body) {
    const text = body.toString('latin1'), name = /filename="([^"]*)"/.exec(text.slice(0, 2000));
    if (!name) throw new Wrong(400, 'no part with a file');
    return Buffer.from(name[1], 'latin1').toString('utf8');
}
function rows(q) {
    const fits = r => (!q.get('model') || r.model === q.get('model')) &&
        (!q.get('text') || r.name.includes(q.get('text'))) &&
        (!q.get('decision') || (r.decision || 'unknown') === q.get('decision'));
    const all = state.history.filter(fits), before = Number(q.get('before') || 0);
    return {rows: all.filter(r => !before || r.id < before).slice(0, Number(q.get('most') || 100)), total: all.length};
}

const routes = [
    ['GET', '/api/session', () => ({ token: page, auth: Boolean(secret), version: '1.0.0-mock' })],
    ['GET', '/api/models', () => ({ models: state.models })],
    ['GET', '/api/models/{}', ([n]) => ({ ...model(n), metadata: { format: 1, training: { seed: 0, images: 20, photos_sha256: { entries: 20 } } } })],
    ['POST', '/score', (_, q, body, r) => scored(multipart(r, body), model(q.get('model') || 'cloth'))],
    ['GET', '/api/history', (_, q) => rows(q)],
    ['GET', '/api/datasets', () => ({ datasets: [...state.sets.values()].map(setJson) })],
    ['POST', '/api/datasets', (_, q, body) => {
        const { name } = JSON.parse(body);
        if (state.sets.has(name)) throw new Wrong(409, `there is a data set ${name} already`);
        state.sets.set(name, { name, created: now(), photos: new Map(), out: new Set() });
        return {};
    }],
    ['GET', '/api/datasets/{}', ([n]) => {
        const s = set(n);
        return { ...setJson(s), next: null, photos: [...s.photos].map(([name, b]) => ({ name, bytes: b.length, excluded: s.out.has(name) })) };
    }],
    ['DELETE', '/api/datasets/{}', ([n]) => { set(n); state.sets.delete(n); return {}; }],
    ['PUT', '/api/datasets/{}/photos/{}', ([n, photo], q, body) => {
        if (body.length < 8 || body.readUInt32BE(0) !== 0x89504e47) throw new Wrong(400, 'this is no picture that can be read');
        const same = [...set(n).photos].find(([, b]) => b.equals(body));
        if (same) return { name: same[0], bytes: body.length, duplicate: true };
        set(n).photos.set(photo, body);
        return { name: photo, bytes: body.length, duplicate: false };
    }],
    ['GET', '/api/datasets/{}/photos/{}', ([n, photo]) => need(set(n).photos.get(photo), 'such photo')],
    ['DELETE', '/api/datasets/{}/photos/{}', ([n, photo]) => { set(n).photos.delete(photo); return {}; }],
    ['GET', '/api/jobs', () => ({ jobs: state.jobs.map(jobJson) })],
    ['POST', '/api/jobs', (_, q, body) => {
        const o = JSON.parse(body), s = set(o.dataset);
        return jobJson(addJob({ name: o.name, dataset: o.dataset, method: o.method, photos: s.photos.size - s.out.size }, 3000));
    }],
    ['GET', '/api/jobs/{}', ([id]) => jobJson(job(id))],
    ['DELETE', '/api/jobs/{}', ([id]) => {
        const j = job(id);
        if (j.state === 'running') j.state = 'cancelled';
        else state.jobs.splice(state.jobs.indexOf(j), 1);
        return {};
    }],
    ['GET', '/api/jobs/{}/distrusted', ([id]) => {
        const names = [...set(job(id).dataset).photos.keys()].sort((a, b) => /hole/.test(b) - /hole/.test(a));
        return { photos: job(id).method === 'comet' ? names.map((name, i) => ({ name, confidence: Math.min(1, 0.05 + i * 0.1), suspect: i === 0 })) : [],
                 excluded: [...set(job(id).dataset).out], contamination: 0.05, warning: null };
    }],
    ['POST', '/api/jobs/{}/exclude', ([id], q, body) => { set(job(id).dataset).out = new Set(JSON.parse(body).photos); return {}; }],
    ['POST', '/api/jobs/{}/calibrate', ([id], q, body) => {
        const j = job(id);
        return jobJson(addJob({ name: j.name, dataset: JSON.parse(body).dataset, source: id, method: j.method, photos: 10 }, 1500));
    }],
    ['POST', '/api/jobs/{}/activate', ([id], q, body) => {
        const j = job(id);
        j.activated = JSON.parse(body).as;
        addModel(j.activated, Boolean(j.limited), { method: j.method });
        return { name: j.activated };
    }],
    ['POST', '/v2/repository/models/{}/load', ([n]) => { model(n).state = 'READY'; model(n).reason = ''; return {}; }],
    ['POST', '/v2/repository/models/{}/unload', ([n]) => { Object.assign(model(n), { state: 'UNAVAILABLE', reason: 'unloaded' }); return {}; }],
];

function find(method, parts) {
    for (const [verb, pattern, run] of routes) {
        const want = pattern.slice(1).split('/');
        if (verb !== method || want.length !== parts.length) continue;
        if (want.every((w, i) => w === '{}' || w === parts[i]))
            return {run, args: parts.filter((_, i) => want[i] === '{}')};
    }
    return null;
}

function answer(request, body) {
    const url = new URL(request.url, 'http://localhost'), cookie = request.headers.cookie || '';
    if (url.pathname === '/api/login') {
        if (JSON.parse(body).token !== secret) throw new Wrong(401, 'wrong token');
        return {headers: {'Set-Cookie': 'mock=' + secret + '; HttpOnly; SameSite=Strict'}, data: {}};
    }
    const file = path.join(web, url.pathname === '/' ? 'index.html' : path.basename(url.pathname));
    if (request.method === 'GET' && url.pathname.lastIndexOf('/') === 0 && fs.existsSync(file)) {
        return {
            headers: {'Content-Type': types[path.extname(file)], 'Content-Security-Policy': policy},
            data: fs.readFileSync(file)
        };
    }
    if (secret && !cookie.includes('mock=' + secret)) throw new Wrong(401, 'an access token is needed');
    if (url.pathname === '/api/history.csv')
        return {headers: {'Content-Type': 'text/csv'}, data: Buffer.from('id,time\r\n')};
    if (request.method !== 'GET' && request.headers['x-cozad-token'] !== page)
        throw new Wrong(403, 'the page’s token is missing');
    const route = need(find(request.method, url.pathname.slice(1).split('/').map(decodeURIComponent)), 'such page');
    const data = route.run(route.args, url.searchParams, body, request);
    return {headers: {'Content-Type': Buffer.isBuffer(data) ? 'image/png' : 'application/json'}, data};
}

if (process.env.MOCK_MODELS !== 'none') {
    addModel('cloth', true, {});
    addModel('screws', false, {drift: true, method: 'comet'});
    state.models.push({
        name: 'old-line',
        state: 'UNAVAILABLE',
        reason: 'old-line.cozad: the file is cut short at byte 4096',
        version: ''
    });
}
http.createServer((request, response) => {
        const parts = [];
        request.on('data', d => parts.push(d));
        request.on('end', () => {
            let status = 200, out;
            try {
                out = answer(request, Buffer.concat(parts));
            } catch (e) {
                status = e.status || 500;
                out = {headers: {'Content-Type': 'application/json'}, data: {error: e.message}};
            }
            response.writeHead(status, out.headers);
            response.end(Buffer.isBuffer(out.data) ? out.data : JSON.stringify(out.data));
        });
    })
    .listen(
        Number(process.argv[2] || 0), '127.0.0.1',
        function() { console.log(`http://127.0.0.1:${this.address().port}/`); });
