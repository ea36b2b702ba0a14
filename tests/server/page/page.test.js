/* SPDX-License-Identifier: Apache-2.0 */
/* Drives the page in headless Chromium: page.test.js [--shots FOLDER] URL. Against the mock (MOCK=1 in the environment) or a real server
 * with a folder for trainings (--state-dir), whose access token is TOKEN of the environment, if it has one; there it makes the data sets
 * and the model "page-test…" and leaves the model.
 *
 * One way through all of it: sign in, make a data set, upload 20 photos (and one that is none), train, watch, set the limit, activate,
 * cancel another training, score a good photo and one with a hole, see the map; results, filter, models; no request leaves the server,
 * nothing is said on the console. */
'use strict';
const assert = require('node:assert/strict');
const {spawn} = require('node:child_process');
const {once} = require('node:events');
const fs = require('node:fs');
const path = require('node:path');
const {chromium} = require('playwright-core');
const {cloth} = require('./png.js');

const words = process.argv.slice(2), shotsAt = words.indexOf('--shots');
const shots = shotsAt >= 0 ? words.splice(shotsAt, 2)[1] : null, url = words[0];
const mock = process.env.MOCK === '1', patience = 1000 * Number(process.env.PATIENCE || (mock ? 90 : 600));
const name = 'page-test-' + Date.now().toString(36), model = mock ? 'page-test' : name;
const photo = (file, seed, holed) => ({name: file, mimeType: 'image/png', buffer: cloth(seed, holed)});
const complaints = [];
let page, passed = 0; /* good photos that were called normal */

async function shot(file) {
    if (!shots) return;
    await page.waitForTimeout(400);
    await page.screenshot({path: path.join(shots, file + '.png'), fullPage: true});
}
async function go(hash) {
    await page.goto(url + '#/' + hash);
    await page.locator('h1').waitFor();
}
const step = text => console.log('page: ' + text);

function watch(context) {
    page.setDefaultTimeout(60000);
    page.on('console', m => {
        if (['error', 'warning'].includes(m.type())) complaints.push('console: ' + m.text());
    });
    page.on('response', r => {
        if (r.status() >= 404 && r.status() !== 503)
            complaints.push(`answer: ${r.status()} of ${r.request().method()} ${r.url()}`);
    });
    page.on('pageerror', e => complaints.push('error: ' + e.message));
    context.on('request', r => {
        if (!/^(data|blob):/.test(r.url()) && !r.url().startsWith(url))
            complaints.push('request to elsewhere: ' + r.url());
    });
}

async function upload(set, files, more) {
    await page.locator('#more-photos').setInputFiles([...files, ...more]);
    await page.getByText(`${files.length} photos added`).first().waitFor({timeout: patience});
    assert.equal(await page.locator('.grid li').count(), files.length, set + ': photos in the grid');
}

async function makeSet(set) {
    await go('train');
    await page.getByLabel('Name of the new data set').fill(set);
    await page.getByRole('button', {name: 'Create'}).click();
    await page.getByRole('heading', {name: set, exact: true}).waitFor();
}

async function train() {
    await makeSet(name);
    await shot('data-empty');
    const good =
        Array.from({length: 20}, (_, i) => photo(i === 4 ? 'A hole.png' : `Good part (${i + 1}).png`, i + 1, i === 4));
    /* A photo that is none is named and the others are taken. */
    await upload(name, good, [{name: 'notes.png', mimeType: 'image/png', buffer: Buffer.from('no picture at all')}]);
    assert.match(await page.locator('.failures').innerText(), /notes\.png: \S+/);
    await shot('data-full');
    await page.getByLabel('Unsorted: some may be defective').check();
    await page.getByLabel('Name of the model').fill(model);
    await page.getByText('More settings').click();
    await page.getByLabel('Passes over the photos').fill(mock ? '40' : '2');
    await page.getByRole('button', {name: 'Train', exact: true}).click();
    await page.getByRole('heading', {name: model, exact: true}).waitFor();
    await page.locator('.progress progress').waitFor();
    await page.waitForFunction(
        () => /\d %/.test(document.querySelector('.progress')?.textContent || ''), null, {timeout: patience});
    await shot('training');
    step('a training runs and says how far it is');
    await page.getByText('The model is trained', {exact: true}).waitFor({timeout: patience});
}

async function finish() {
    const job = page.url();
    const grid = page.locator('section[aria-label="Check photos"] .grid li');
    await grid.first().waitFor();
    const first = grid.first();
    await first.getByRole('checkbox').check();
    assert.equal(await page.getByRole('button', {name: 'Train again without 1 photo'}).isEnabled(), true);
    await shot('trained');
    await first.getByRole('checkbox').uncheck();
    step('the photos that are trusted least are shown');

    await page.getByRole('button', {name: /Add (good photos for it|another data set)/}).click();
    await page.getByRole('heading', {name: name + '-limit', exact: true}).waitFor();
    await upload(name + '-limit', Array.from({length: 10}, (_, i) => photo(`limit-${i}.png`, 100 + i, false)), []);
    await page.goto(job);
    await page.getByLabel('Good photos', {exact: true}).selectOption(name + '-limit');
    await page.getByLabel('Good photos flagged by mistake').selectOption('0.1');
    await page.getByRole('button', {name: 'Set the limit', exact: true}).click();
    await page.getByText('The limit is set', {exact: true}).waitFor({timeout: patience});
    step('the limit is set with photos of another data set');

    await page.getByLabel('Name in use').fill(model);
    await page.getByRole('button', {name: 'Use it', exact: true}).click();
    await page.getByText(`It is in use as “${model}”`).waitFor({timeout: patience});
    await shot('activated');
    await page.getByRole('link', {name: 'Score photos with it'}).click();
    await page.getByRole('heading', {name: 'Score photos'}).waitFor();
    assert.equal(await page.getByLabel('Model').inputValue(), model);
}

/* One that would take long. */
async function cancel() {
    await go('train/data/' + name);
    await page.getByLabel('Name of the model').fill(model + '-again');
    await page.getByText('More settings').click();
    const passes = page.getByLabel('Passes over the photos');
    await passes.fill('1001'); /* more than the server takes: the page says so itself */
    await page.getByRole('button', {name: 'Train', exact: true}).click();
    assert.equal(await passes.evaluate(e => e.validity.rangeOverflow), true);
    await passes.fill('1000');
    await page.getByRole('button', {name: 'Train', exact: true}).click();
    await page.getByRole('heading', {name: model + '-again', exact: true}).waitFor();
    await page.waitForFunction(
        () => /\d %/.test(document.querySelector('.progress')?.textContent || ''), null, {timeout: patience});
    await page.getByRole('button', {name: 'Cancel the training'}).click();
    await page.getByRole('dialog').getByRole('button', {name: 'Cancel the training'}).click();
    await page.getByText('The training was cancelled', {exact: true}).waitFor({timeout: patience});
    await page.getByRole('button', {name: 'Delete this training'}).click();
    await page.getByRole('button', {name: 'Delete', exact: true}).click();
    await page.getByRole('heading', {name: 'Train a model'}).waitFor();
    assert.equal(await page.locator('.entries a', {hasText: model + '-again'}).count(), 0);
    step('a training is cancelled');
}

/* Through the drop itself, not the file picker. */
async function drop(files) {
    const data = await page.evaluateHandle(list => {
        const transfer = new DataTransfer();
        for (const f of list) {
            const bytes = Uint8Array.from(atob(f.data), c => c.charCodeAt(0));
            transfer.items.add(new File([bytes], f.name, {type: 'image/png'}));
        }
        return transfer;
    }, files.map(f => ({name: f.name, data: f.buffer.toString('base64')})));
    for (const type of ['dragenter', 'dragover', 'drop']) await page.dispatchEvent('.drop', type, {dataTransfer: data});
}

async function score() {
    await drop([photo('hole-1.png', 201, true)]);
    const card = page.getByRole('article', {name: 'Result for hole-1.png'});
    await card.waitFor({timeout: patience});
    assert.match(await card.locator('.verdict').innerText(), /Anomaly/, 'a photo with a hole');
    const heat = card.locator('img.heat');
    await heat.waitFor();
    assert.equal(
        await heat.evaluate(async e => {
            await e.decode();
            return e.naturalWidth > 1;
        }),
        true, 'the map has pixels');
    await card.getByLabel('Heat map').fill('25');
    assert.equal(await heat.evaluate(e => getComputedStyle(e).opacity), '0.25');
    await card.getByLabel('Heat map').fill('60');
    assert.match(await card.innerText(), /good photos? scores? as high/);
    const region = card.locator('.regions button').first();
    await region.click();
    assert.equal(await region.getAttribute('aria-pressed'), 'true');
    await page.waitForFunction(
        () => Number(getComputedStyle(document.querySelector('.stage')).getPropertyValue('--zoom')) >= 1);
    await shot('score-near');
    await region.click();
    step('a dropped photo shows its map, the slider blends it, a region comes close');

    await page.locator('#photos').setInputFiles([
        photo('good-1.png', 103, false), photo('good-2.png', 104, false),
        {name: 'broken.png', mimeType: 'image/png', buffer: Buffer.from('nothing')}
    ]);
    /* They are among those that the limit was set with: at most one of them can have the score that is the limit. */
    for (const file of ['good-1.png', 'good-2.png']) {
        await page.locator('.tile', {hasText: file}).locator('.badge', {hasText: /Normal|Anomaly/}).waitFor({
            timeout: patience
        });
    }
    const good = page.locator('.tile', {hasText: 'good-'}).filter({hasText: 'Normal'});
    passed = await good.count();
    assert.ok(passed >= 1, 'a good photo is normal');
    await good.first().click();
    assert.match(await page.locator('.verdict').innerText(), /Normal/);
    if (!mock) {
        await page.locator('.tile', {hasText: 'broken.png'}).locator('.badge', {hasText: 'failed'}).waitFor({
            timeout: patience
        });
        await page.locator('.tile', {hasText: 'broken.png'}).click();
        await page.getByText('broken.png could not be scored').waitFor();
    }
    await page.getByRole('button', {name: 'Camera'}).click();
    await page.waitForFunction(() => document.querySelector('video')?.videoWidth > 0);
    await page.getByRole('button', {name: 'Take photo'}).click();
    await page.locator('.tile', {hasText: 'camera-'}).locator('.badge', {hasText: /Normal|Anomaly/}).waitFor({
        timeout: patience
    });
    await shot('camera');
    await page.getByRole('button', {name: 'Close'}).click();
    await page.locator('.tile', {hasText: 'hole-1.png'}).click();
    await shot('score');
    step('several photos are queued, one comes from a camera; good is normal');
}

async function others() {
    await go('results');
    const body = page.locator('table.results tbody');
    await body.getByText('hole-1.png').first().waitFor();
    await shot('results');
    await page.getByLabel('Decision').selectOption('normal');
    await page.getByLabel('Model').selectOption(model);
    await page.getByLabel('Name of the photo contains').fill('good-');
    await body.getByText('hole-1.png').first().waitFor({state: 'detached'});
    await page.locator('a[download][href*="decision=normal"][href*="text=good-"]').waitFor();
    assert.equal(await body.locator('tr').count(), passed);
    await page.getByLabel('Name of the photo contains').fill('no such name');
    await page.getByText('No result fits').waitFor();
    step('results are listed and filtered');

    await go('models');
    const card = page.getByRole('article', {name: 'Model ' + model, exact: true});
    await card.getByText('Ready').waitFor();
    await card.getByText('Everything the model file says').click();
    await card.locator('.raw dt').first().waitFor();
    await shot('models');
    await card.getByRole('button', {name: 'Unload ' + model}).click();
    await card.getByText('Not loaded').waitFor();
    await card.getByRole('button', {name: 'Load ' + model}).click();
    await card.getByText('Ready').waitFor();
    step('a model is unloaded and loaded');
}

/* Only with the keyboard: skip link, pages, focus that can be seen. */
async function keyboard() {
    await page.goto('about:blank');
    await go('score');
    await page.keyboard.press('Tab');
    assert.equal(await page.evaluate(() => document.activeElement.textContent), 'Skip to the content');
    await page.keyboard.press('Enter');
    assert.equal(await page.evaluate(() => document.activeElement.id), 'main');
    assert.match(page.url(), /#\/score$/);
    const unnamed = await page.evaluate(
        () => [...document.querySelectorAll('button, a, input, select')]
                  .filter(e => !(e.textContent.trim() || e.getAttribute('aria-label') || (e.labels && e.labels.length)))
                  .map(e => e.outerHTML));
    assert.deepEqual(unnamed, [], 'controls without a name');
    step('the keyboard gets along');
}

async function fits(width) {
    await page.setViewportSize({width, height: 740});
    for (const at of ['score', 'results', 'train', 'train/data/' + name, 'models']) {
        await go(at);
        await page.waitForTimeout(100);
        if (at === 'score') {
            await drop([photo('hole-3.png', 205, true)]);
            await page.getByRole('article', {name: 'Result for hole-3.png'}).waitFor({timeout: patience});
        }
        const wide = await page.evaluate(() => document.documentElement.scrollWidth);
        assert.ok(wide <= width, `${at} is ${wide} pixels wide on a screen of ${width}`);
        await shot('phone-' + at.replaceAll('/', '-').replace(name, 'set'));
    }
    step(`all pages fit a screen of ${width} pixels`);
}

async function dark() {
    if (!shots) return;
    await page.setViewportSize({width: 1280, height: 800});
    await page.emulateMedia({colorScheme: 'dark'});
    for (const at of ['score', 'results', 'train', 'train/data/' + name, 'models']) {
        await go(at);
        if (at === 'score') {
            await drop([photo('hole-2.png', 204, true)]);
            await page.getByRole('article', {name: 'Result for hole-2.png'}).waitFor({timeout: patience});
        }
        await shot('dark-' + at.replaceAll('/', '-').replace(name, 'set'));
    }
}

/* A server with a token asks for it once; the request that waited goes on. */
async function signIn(address, secret) {
    await page.goto(address + '#/score');
    await page.getByLabel('Access token').fill('not this one');
    await page.getByRole('button', {name: 'Sign in'}).click();
    await page.getByText('This token was not accepted.').waitFor();
    await shot('login');
    await page.getByLabel('Access token').fill(secret);
    await page.getByRole('button', {name: 'Sign in'}).click();
    await page.getByText('There is no model to score with yet').waitFor();
    complaints.length = 0; /* refusals were wanted here, and of the stand-in another address */
    step('a token is asked for, and the page says what to do without a model');
}

async function login() {
    const secret = 'a-token-of-the-test';
    const server = spawn(
        process.execPath, [path.join(__dirname, 'mock.js')],
        {env: {...process.env, MOCK_SECRET: secret, MOCK_MODELS: 'none'}});
    try {
        const [line] = await once(server.stdout, 'data');
        await signIn(String(line).trim(), secret);
        await shot('no-model');
    } finally {
        server.kill();
    }
}

/* What was used goes again; the model stays in use. */
async function tidy() {
    for (const set of [name, name + '-limit']) {
        await go('train/data/' + set);
        await page.getByRole('button', {name: 'Delete this data set'}).click();
        await page.getByRole('button', {name: 'Delete', exact: true}).click();
        await page.getByRole('heading', {name: 'Train a model'}).waitFor();
    }
    assert.equal(await page.locator('.entries a', {hasText: name + '-limit'}).count(), 0);
}

async function main() {
    if (!url) throw new Error('usage: page.test.js [--shots FOLDER] URL');
    if (shots) fs.mkdirSync(shots, {recursive: true});
    const browser = await chromium.launch({
        executablePath: process.env.CHROMIUM || '/usr/bin/chromium',
        args: [
            '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--use-fake-device-for-media-stream',
            '--use-fake-ui-for-media-stream'
        ]
    });
    try {
        const context =
            await browser.newContext({viewport: {width: 1280, height: 800}, reducedMotion: 'reduce', locale: 'en-GB'});
        page = await context.newPage();
        watch(context);
        if (process.env.TOKEN && !mock) await signIn(url, process.env.TOKEN);
        await train();
        await finish();
        await score();
        await others();
        await cancel();
        await keyboard();
        await fits(360);
        await dark();
        await tidy();
        /* The browser itself reports refused uploads and photos. */
        assert.deepEqual(complaints.filter(c => !/status of (400|415|422)|GPU|WebGL/.test(c)), [], 'the console');
        if (mock) await login();
        console.log('page: passed');
    } catch (e) {
        if (shots && page)
            await page.screenshot({path: path.join(shots, 'failed.png'), fullPage: true}).catch(() => {});
        console.error(complaints.join('\n'));
        throw e;
    } finally {
        await browser.close();
    }
}

main().catch(e => {
    console.error(e);
    process.exitCode = 1;
});
