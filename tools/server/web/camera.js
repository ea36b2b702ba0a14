/* SPDX-License-Identifier: Apache-2.0 */
/* A dialog with the camera's picture; each press of the button gives a photo to `taken` and leaves the dialog open for the next one. */
import {add, button, fill, h, notice, say, select} from './dom.js';

const insecure =
    'A phone or tablet lets a page use its camera only over HTTPS, or on the computer that the server itself runs on ' +
    '(localhost). Ask whoever runs the server for its https:// address.';
const reasons = {
    NotAllowedError:
        'The browser was not allowed to use the camera. Allow it in the browser’s settings for this page, then try again.',
    NotFoundError: 'No camera was found. Connect one, then try again.',
    NotReadableError: 'Another program is using the camera. Close it, then try again.',
};

function grab(video, taken) {
    const canvas = h('canvas', {width: video.videoWidth, height: video.videoHeight});
    canvas.getContext('2d').drawImage(video, 0, 0);
    canvas.toBlob(blob => {
        const time = new Date().toISOString().slice(0, 19).replace(/[:T]/g, '-');
        if (blob) taken(new File([blob], 'camera-' + time + '.jpg', {type: 'image/jpeg'}));
    }, 'image/jpeg', 0.95);
}

/* A phone's own camera program needs no permission: its photo arrives like a chosen file. */
function ownCamera(taken, close) {
    const input =
        h('input', {type: 'file', accept: 'image/*', capture: 'environment', class: 'hidden', tabindex: '-1'});
    input.addEventListener('change', () => {
        [...input.files].forEach(taken);
        close();
    });
    return [input, button('Use the phone’s camera app', () => input.click(), {icon: 'camera'})];
}

export function openCamera(taken) {
    let stream = null, made = 0;
    const body = h('div', {class: 'camera'});
    const dialog = add(h('dialog', {'aria-label': 'Camera', class: 'wide'}), [h('h2', null, 'Camera'), body]);
    const stop = () => {
        if (stream) stream.getTracks().forEach(t => t.stop());
        stream = null;
    };
    const close = () => dialog.close();
    dialog.addEventListener('close', () => {
        stop();
        dialog.remove();
    });

    const refuse = text => fill(
        body, notice('error', 'The camera cannot be used here', text, ownCamera(taken, close), button('Close', close)));

    async function start(id) {
        stop();
        const size = {width: {ideal: 1920}, height: {ideal: 1080}};
        try {
            const video = id ? {deviceId: {exact: id}, ...size} : {facingMode: 'environment', ...size};
            stream = await navigator.mediaDevices.getUserMedia({video, audio: false});
        } catch (e) {
            refuse(reasons[e.name] || 'The camera did not start. Choose a photo instead.');
            return;
        }
        if (!dialog.open) {
            stop();
            return;
        }
        await show();
    }

    async function show() {
        const video = h('video', {autoplay: true, playsinline: true, 'aria-label': 'What the camera sees'});
        video.muted = true;
        video.srcObject = stream;
        const shutter = button('Take photo', () => {
            if (!video.videoWidth) return;
            made += 1;
            grab(video, taken);
            say('Photo ' + made + ' taken.');
            tally.textContent = made === 1 ? '1 photo taken' : made + ' photos taken';
        }, {class: 'main', icon: 'camera'});
        const tally = h('span', {class: 'soft'});
        const cameras = (await navigator.mediaDevices.enumerateDevices()).filter(d => d.kind === 'videoinput');
        const using = stream ? stream.getVideoTracks()[0].getSettings().deviceId : '';
        const choice = cameras.length < 2 ? null :
                                            select(
                                                cameras.map((d, i) => [d.deviceId, d.label || 'Camera ' + (i + 1)]),
                                                using, event => start(event.target.value));
        if (choice) choice.setAttribute('aria-label', 'Which camera');
        fill(body, video, h('div', {class: 'actions'}, shutter, button('Close', close), choice, tally));
        shutter.focus();
    }

    document.body.append(dialog);
    dialog.showModal();
    if (!window.isSecureContext || !navigator.mediaDevices) refuse(insecure);
    else {
        fill(
            body, h('p', {role: 'status'}, 'Waiting for the camera. The browser may ask whether this page may use it.'),
            h('div', {class: 'actions'}, button('Close', close)));
        start('');
    }
}
