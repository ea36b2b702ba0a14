/* SPDX-License-Identifier: Apache-2.0 */
/* Requests to the server this page came from. */
import {add, field, h} from './dom.js';

export class Failure extends Error {
    /* `status`: of HTTP; 0: the server did not answer. `wait`: seconds of Retry-After. */
    constructor(status, message, wait) {
        super(message);
        this.status = status;
        this.wait = wait;
    }
}

const silent =
    'The server does not answer. Check that it is running and that this device is on its network, then try again.';
let session = null, asking = null;

async function send(method, path, options) {
    const headers = {};
    if (session && method !== 'GET') headers['X-CoZAD-Token'] = session.token;
    let body = options.body;
    if (options.json !== undefined) {
        body = JSON.stringify(options.json);
        headers['Content-Type'] = 'application/json';
    } else if (options.type) {
        headers['Content-Type'] = options.type;
    }
    try {
        return await fetch(
            path, {method, headers, body, signal: options.signal, credentials: 'same-origin', cache: 'no-store'});
    } catch (e) {
        if (e.name === 'AbortError') throw e;
        throw new Failure(0, silent);
    }
}

async function openSession() {
    const response = await send('GET', '/api/session', {});
    if (!response.ok) throw await failureOf(response);
    session = await response.json();
    return session;
}

async function failureOf(response) {
    let text = '';
    try {
        text = String((await response.json()).error || '');
    } catch {
        /* no JSON: the status alone */
    }
    if (response.status === 413 && !text) text = 'The photo is larger than the server takes.';
    if (response.status === 503)
        text = 'The server is busy. ' + (text ? '(' + text + ') ' : '') + 'Try again in a moment.';
    return new Failure(
        response.status, text || 'The server answered with error ' + response.status + '.',
        Number(response.headers.get('Retry-After')) || 1);
}

/* The answer as JSON (null: none). `options`: {json} or {body, type}, {signal}. Asks for the access token where one is needed and
 * takes a fresh page token where the server was started anew. */
export async function call(method, path, options = {}) {
    for (let attempt = 0;; attempt++) {
        try {
            if (!session) await openSession();
            const response = await send(method, path, options);
            if (response.ok) return await readJson(response);
            throw await failureOf(response);
        } catch (e) {
            if (!(e instanceof Failure) || attempt === 2) throw e;
            if (e.status === 401) await login();
            else if (e.status === 403 && attempt === 0 && method !== 'GET') session = null;
            else throw e;
        }
    }
}

async function readJson(response) {
    if (response.status === 204) return null;
    const text = await response.text();
    if (!text) return null;
    try {
        return JSON.parse(text);
    } catch {
        throw new Failure(
            response.status, 'The server gave an answer that this page does not understand. Reload the page.');
    }
}

export const get = (path, options) => call('GET', path, options);
export const post = (path, json) => call('POST', path, {json});
export const version = () => session ? session.version : '';
export const at = (...parts) => '/' + parts.map(encodeURIComponent).join('/');

/* One dialog for all requests that wait for it. */
function login() {
    asking = asking || new Promise(resolve => {
                 const input = h('input', {type: 'password', autocomplete: 'current-password', required: true});
                 const wrong = h('p', {class: 'wrong', role: 'alert'});
                 const form =
                     h('form', null, h('h2', null, 'Sign in'),
                       h('p', null, 'This server asks for an access token. Whoever runs it can give it to you.'),
                       field('Access token', input), wrong,
                       h('div', {class: 'actions'}, h('button', {class: 'main', type: 'submit'}, 'Sign in')));
                 const dialog = add(h('dialog', {'aria-label': 'Sign in'}), form);
                 dialog.addEventListener('cancel', event => event.preventDefault());
                 form.addEventListener('submit', async event => {
                     event.preventDefault();
                     wrong.textContent = '';
                     try {
                         const response = await send('POST', '/api/login', {json: {token: input.value}});
                         if (!response.ok) {
                             wrong.textContent = response.status === 401 || response.status === 403 ?
                                 'This token was not accepted.' :
                                 (await failureOf(response)).message;
                             return;
                         }
                         await openSession();
                         dialog.close();
                         dialog.remove();
                         asking = null;
                         resolve();
                     } catch (e) {
                         wrong.textContent = e.message;
                     }
                 });
                 document.body.append(dialog);
                 dialog.showModal();
             });
    return asking;
}

/* Runs `f` for an event: the button rests meanwhile, and `fail` gets what went wrong. */
export function busy(control, f, fail) {
    return async event => {
        if (event) event.preventDefault();
        if (control.disabled) return;
        control.disabled = true;
        control.setAttribute('aria-busy', 'true');
        try {
            await f();
        } catch (e) {
            if (e.name !== 'AbortError') fail(e.message);
        } finally {
            control.disabled = false;
            control.removeAttribute('aria-busy');
        }
    };
}
