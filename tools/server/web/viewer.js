/* SPDX-License-Identifier: Apache-2.0 */
/* One photo with the heat map above it, and the regions outlined. */
import {button, count, h, known, number, remember, say} from './dom.js';

const blend = {
    value: Number(remember('heat') || 60),
    outlines: remember('outlines') !== 'no'
};

function outline(region, i, width, height) {
    const box = h('div', {class: 'outline', 'aria-hidden': 'true'}, h('span', null, i + 1));
    const share = (v, whole) => 100 * v / whole + '%';
    box.style.left = share(region.x, width);
    box.style.top = share(region.y, height);
    box.style.width = share(region.width, width);
    box.style.height = share(region.height, height);
    return box;
}

/* Where a region lies, in words: a list of numbers says little to a person. */
function place(region, width, height) {
    const x = (region.x + region.width / 2) / width, y = (region.y + region.height / 2) / height;
    const column = x < 1 / 3 ? 'left' : x > 2 / 3 ? 'right' : '', row = y < 1 / 3 ? 'top' : y > 2 / 3 ? 'bottom' : '';
    return [row, column].filter(Boolean).join(' ') || 'middle';
}

function zoomTo(stage, region, width, height) {
    const zoom = region ? Math.min(8, Math.max(1, 0.5 / Math.max(region.width / width, region.height / height))) : 1;
    const shift = (from, size, whole) => {
        const middle = (from + size / 2) / whole;
        return Math.min(0, Math.max(1 - zoom, 0.5 - zoom * middle)) * 100;
    };
    const left = region ? shift(region.x, region.width, width) : 0,
          top = region ? shift(region.y, region.height, height) : 0;
    stage.style.transform = `translate(${left}%, ${top}%) scale(${zoom})`;
    stage.style.setProperty('--zoom', zoom);
}

/* The list of regions: each is a button that brings its place close. */
function regionList(regions, boxes, stage, whole, width, height) {
    let near = -1;
    const show = i => {
        near = near === i ? -1 : i;
        boxes.forEach((box, j) => box.classList.toggle('near', j === near));
        [...list.querySelectorAll('button')].forEach((b, j) => b.setAttribute('aria-pressed', String(j === near)));
        zoomTo(stage, near < 0 ? null : regions[near], width, height);
        whole.hidden = near < 0;
        say(near < 0 ? 'The whole photo is shown.' : 'Region ' + (near + 1) + ' is shown close up.');
    };
    const list = h('ol', {class: 'regions'}, regions.map((r, i) => {
        const share = known(r.area) ? 100 * r.area / (width * height) : NaN;
        const b =
            h('button', {type: 'button', 'aria-pressed': 'false', on: {click: () => show(i)}},
              h('span', {class: 'region-number'}, i + 1),
              h('span', {class: 'region-text'}, h('b', null, place(r, width, height)),
                h('span', null,
                  `${r.width} × ${r.height} pixels` + (known(share) ? `, ${number(share, 2)} % of the photo` : '') +
                      (known(r.peak) ? `, peak ${number(r.peak, 3)}` : ''))));
        b.addEventListener('mouseenter', () => boxes[i].classList.add('near'));
        b.addEventListener('mouseleave', () => boxes[i].classList.toggle('near', i === near));
        return h('li', null, b);
    }));
    whole.addEventListener('click', () => show(near));
    return list;
}

/* `picture`: {photo: URL or null, heat, overlay: URLs or null, width, height, regions, name}. Gives {node, regions}: the picture with its
 * controls, and the list of regions (null without any). Where the browser cannot show the photo itself (TIFF), the server's picture of
 * photo and map together stands in, without the slider. */
export function viewer(picture) {
    const {width, height} = picture, regions = picture.regions || [];
    const heat = picture.heat ? h('img', {class: 'heat', src: picture.heat, alt: ''}) : null;
    const alt = 'Photo ' + picture.name + (regions.length ? ', ' + count(regions.length, 'region') + ' marked' : '');
    const photo = h('img', {class: 'photo', src: picture.photo || picture.overlay, alt});
    const boxes = regions.map((r, i) => outline(r, i, width, height));
    const outlines = h('div', {class: 'outlines'}, boxes);
    const stage = h('div', {class: 'stage'}, photo, heat, outlines);
    const whole = button('Whole photo', () => {}, {class: 'whole', icon: 'photo'});
    whole.hidden = true;
    const frame = h('div', {class: 'frame'}, stage, whole);
    frame.style.setProperty('--width', width);
    frame.style.setProperty('--height', height);

    const slider = h('input', {type: 'range', id: 'heat', min: 0, max: 100, step: 1, value: blend.value});
    const shown = h('output', {class: 'amount'});
    const paint = () => {
        blend.value = Number(slider.value);
        if (heat) heat.style.opacity = blend.value / 100;
        shown.textContent = blend.value + ' %';
        slider.setAttribute('aria-valuetext', blend.value + ' percent');
    };
    slider.addEventListener('input', paint);
    slider.addEventListener('change', () => remember('heat', String(blend.value)));
    paint();
    const tick = h('input', {type: 'checkbox', checked: blend.outlines});
    const draw = () => {
        outlines.hidden = !tick.checked;
    };
    tick.addEventListener('change', () => {
        blend.outlines = tick.checked;
        remember('outlines', tick.checked ? 'yes' : 'no');
        draw();
    });
    draw();
    const mixing = h('div', {class: 'slide'}, h('label', { for: 'heat'
                     }, 'Heat map'), slider, shown);
    const controls =
        h('figcaption', {class: 'controls'}, heat && picture.photo ? mixing : null,
          regions.length ? h('label', {class: 'tick'}, tick, 'Outlines') : null);

    const fallBack = () => {
        if (!picture.overlay || photo.src === picture.overlay) return;
        photo.src = picture.overlay;
        if (heat) heat.remove();
        mixing.remove();
    };
    photo.addEventListener('error', fallBack, {once: true});
    if (!picture.photo && heat) heat.remove();
    return {
        node: h('figure', {class: 'viewer'}, frame, controls),
        regions: regions.length ? regionList(regions, boxes, stage, whole, width, height) : null
    };
}
