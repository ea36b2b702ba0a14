/* SPDX-License-Identifier: Apache-2.0 */
/* A program that knows nothing of cozad but its openapi.json: client.test.js URL MODEL PHOTO SCORE. openapi-client-axios makes the client
 * from the description that the server gives out, and Ajv holds every answer against the schema that the description has for it. Needs a
 * running server with --state-dir and MODEL, which is calibrated; SCORE is what `cozad score` says of PHOTO. */
'use strict';
const assert = require('node:assert/strict');
const fs = require('node:fs');
const Ajv = require('ajv');
const {OpenAPIClientAxios} = require('openapi-client-axios');

const [url, model, photo, wanted] = process.argv.slice(2), bytes = fs.readFileSync(photo);
const ajv = new Ajv({strict: false, validateFormats: false, allErrors: true});
const checks = new Map(); /* "operation status": schema, compiled */
let client, document, checked = 0;

function schemaOf(operation, status, type) {
    for (const item of Object.values(document.paths)) {
        for (const o of Object.values(item)) {
            if (o.operationId !== operation) continue;
            let answer = o.responses[status];
            assert.ok(answer, `${operation}: status ${status} is not described`);
            if (answer.$ref) answer = document.components.responses[answer.$ref.split('/').pop()];
            const content = answer.content || {}, found = Object.keys(content).find(t => type.startsWith(t));
            assert.ok(found, `${operation} ${status}: type ${type} is not described`);
            return content[found].schema;
        }
    }
    throw new Error('no operation ' + operation);
}

/* The operation's answer, which must have this status and the form that is described. */
async function call(status, operation, parameters, body, headers) {
    const answer =
        await client[operation](parameters || null, body, {headers: headers || {}, validateStatus: () => true});
    const what = `${operation}: ${answer.status} ${JSON.stringify(answer.data).slice(0, 300)}`;
    assert.equal(answer.status, status, what);
    const schema = schemaOf(operation, status, answer.headers['content-type']);
    if (typeof answer.data === 'object') {
        const key = operation + ' ' + status;
        if (!checks.has(key)) checks.set(key, ajv.compile({...schema, components: document.components}));
        const check = checks.get(key);
        assert.ok(check(answer.data), what + ': ' + JSON.stringify(check.errors));
    }
    checked++;
    return answer.data;
}

function output(answer, name) {
    const found = answer.outputs.find(o => o.name === name);
    assert.ok(found, 'there is no output ' + name);
    assert.equal(found.data.length, found.shape.reduce((n, size) => n * size, 1), name + ': as many values as its shape says');
    return found;
}
const near = (a, b) => assert.ok(Math.abs(a - b) <= 1e-4 * (1 + Math.abs(b)), `${a} and ${b}`);

async function protocol() {
    const json = {'Content-Type': 'application/json'};
    assert.deepEqual(await call(200, 'live'), {live: true});
    assert.deepEqual(await call(200, 'ready'), {ready: true});
    assert.equal((await call(200, 'server')).name, 'cozad');
    const about = await call(200, 'model', {model}), version = about.versions[0];
    assert.deepEqual(about.inputs.map(i => i.name), ['image']);
    await call(200, 'model_version', {model, version});
    await call(200, 'model_ready', {model});
    await call(200, 'model_ready_version', {model, version});
    await call(404, 'model', {model: 'nothing'});
    const picture = {name: 'image', shape: [1], datatype: 'BYTES', data: [bytes.toString('base64')]};
    const scored = await call(200, 'infer', {model}, {id: 'one', inputs: [picture]}, json);
    assert.equal(scored.id, 'one');
    near(output(scored, 'score').data[0], Number(wanted));
    /* What the model says of its outputs is what comes: names and types. */
    const types = new Map(about.outputs.map(o => [o.name, o.datatype]));
    for (const o of scored.outputs) assert.equal(o.datatype, types.get(o.name), o.name);
    const pixels = Array.from({length: 2 * 8 * 8 * 3}, (_, i) => i % 251);
    const two = await call(200, 'infer_version', {model, version}, {
        inputs: [{name: 'image', shape: [2, 8, 8, 3], datatype: 'UINT8', data: pixels}],
        outputs: about.outputs.map(o => ({name: o.name}))
    }, json);
    assert.deepEqual(output(two, 'map').shape, [2, 8, 8]);
    await call(400, 'infer', {model}, {inputs: [{...picture, data: ['no picture']}]}, json);
    await call(400, 'infer', {model}, {inputs: []}, json);
    assert.ok((await call(200, 'repository_index', null, {}, json)).some(m => m.name === model));
    await call(200, 'repository_unload', {model});
    await call(404, 'infer', {model}, {inputs: [picture]}, json);
    await call(200, 'repository_load', {model});
}

async function others() {
    const raw = {'Content-Type': 'application/octet-stream'}, json = {'Content-Type': 'application/json'};
    near((await call(200, 'score', {model}, bytes, raw)).score, Number(wanted));
    await call(400, 'score', {model}, Buffer.from('no picture'), raw);
    await call(415, 'score', {model}, 'x', {'Content-Type': 'text/plain'});
    assert.ok((await call(200, 'models')).models.some(m => m.name === model));
    await call(200, 'model_details', {model});
    assert.ok((await call(200, 'history')).rows.length > 0);
    assert.match(await call(200, 'history_csv'), /^id,/);
    assert.match(await call(200, 'metrics'), /^# HELP/m);
    await call(200, 'session');
    await call(201, 'dataset_create', null, {name: 'set'}, json);
    await call(409, 'dataset_create', null, {name: 'set'}, json);
    await call(201, 'photo_put', {dataset: 'set', photo: 'a.png'}, bytes, raw);
    await call(400, 'photo_put', {dataset: 'set', photo: 'b.png'}, Buffer.from('no picture'), raw);
    assert.equal((await call(200, 'dataset', {dataset: 'set'})).photos.length, 1);
    await call(200, 'datasets');
    await call(400, 'job_create', null, {dataset: 'set', epochs: 0}, json);
    await call(404, 'job_create', null, {dataset: 'nothing'}, json);
    assert.deepEqual((await call(200, 'jobs')).jobs, []);
    await call(404, 'job', {job: 'nothing'});
    await call(200, 'photo_delete', {dataset: 'set', photo: 'a.png'});
    await call(200, 'dataset_delete', {dataset: 'set'});
}

async function main() {
    const api = new OpenAPIClientAxios({definition: url + '/openapi.json', withServer: {url}});
    client = await api.init();
    document = api.document;
    await protocol();
    await others();
    console.log(`client: ${checked} answers are as described`);
}

main().catch(e => {
    console.error(e);
    process.exitCode = 1;
});
