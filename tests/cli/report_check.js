// SPDX-License-Identifier: Apache-2.0
// Runs inside a page of cozad eval, first thing in its head; `truth` is the output of eval --json. Tells the page around it
// what is wrong, one line each.
(function () {
    'use strict';
    var wrong = [], metrics = ['image_auroc', 'image_ap', 'image_f1', 'pixel_auroc', 'pixel_ap', 'pixel_f1', 'aupro_030', 'aupro_005'];
    function say(text) { wrong.push(text); }
    function all(what, where) { return Array.prototype.slice.call((where || document).querySelectorAll(what)); }
    window.addEventListener('error', function (e) { say('error: ' + (e.message || 'a resource did not load')); }, true);
    document.addEventListener('securitypolicyviolation', function (e) { say('policy: ' + e.blockedURI); });

    function same(text, wanted, name) { // JSON has nine digits
        if (text === undefined || !(Math.abs(+text - wanted) <= 1e-8 * Math.max(1, Math.abs(wanted)))) say(name + ': ' + text + ', JSON ' + wanted);
    }
    function cell(td, figures, metric, name) {
        if (!td) return say(name + ': no cell');
        var value = figures[metric], bold = td.querySelector('b'), small = td.querySelector('small');
        if (value === null) {
            if (td.textContent !== 'undefined') say(name + ': "' + td.textContent + '" for null');
            return;
        }
        same(td.dataset.v, value, name);
        if (!bold || !(Math.abs(parseFloat(bold.textContent) - 100 * value) <= 0.0500001)) say(name + ' shows ' + td.textContent);
        if (figures[metric + '_low'] === null || figures[metric + '_low'] === undefined) return;
        same(td.dataset.low, figures[metric + '_low'], name + ' low');
        same(td.dataset.high, figures[metric + '_high'], name + ' high');
        var ends = small ? small.textContent.split('–') : [];
        if (ends.length !== 2 || Math.abs(ends[0] - 100 * figures[metric + '_low']) > 0.0500001 ||
            Math.abs(ends[1] - 100 * figures[metric + '_high']) > 0.0500001) say(name + ' interval shows ' + td.textContent);
    }
    function tables() {
        var names = Object.keys(truth.categories), rows = {};
        all('#category-table tr[data-kind]').forEach(function (tr) { rows[tr.dataset.kind + '/' + tr.dataset.name] = tr; });
        if (Object.keys(rows).length !== names.length + 2) say('rows: ' + Object.keys(rows));
        names.forEach(function (name) {
            var tr = rows['category/' + name], figures = truth.categories[name];
            if (!tr) return say('no row for ' + name);
            metrics.forEach(function (m) { cell(tr.querySelector('[data-m=' + m + ']'), figures, m, name + ' ' + m); });
            if (+tr.cells[9].textContent !== figures.normal || +tr.cells[10].textContent !== figures.anomalous) say(name + ': counts');
        });
        ['mean', 'pooled'].forEach(function (kind, i) {
            metrics.forEach(function (m) {
                cell(rows[kind + '/' + kind].querySelector('[data-m=' + m + ']'), truth[kind], m, kind + ' ' + m);
                cell(all('#summary-table [data-m=' + m + ']')[i], truth[kind], m, 'summary ' + kind + ' ' + m);
            });
        });
        var at = truth.at_threshold, shown = all('#confusion-table td').map(function (td) { return parseInt(td.textContent, 10); });
        if (at && [shown[0], shown[1], shown[3], shown[4]].join() !==
            [at.true_negatives, at.false_positives, at.false_negatives, at.true_positives].join()) say('confusion ' + shown);
        var normal = names.reduce(function (n, k) { // without a threshold of its own a category has none to be judged by
            return n + (at || truth.categories[k].image_f1_threshold !== null ? truth.categories[k].normal : 0);
        }, 0);
        if (shown[0] + shown[1] !== normal) say('confusion: ' + shown + ' of ' + normal);
    }
    function pictures() {
        var images = all('img');
        if (images.length === 0) say('no picture');
        images.forEach(function (i, n) {
            if (!i.complete || !i.naturalWidth) say('picture ' + n + ' did not load');
            if (!i.alt) say('picture ' + n + ' has no text');
        });
        all('svg[role=img]').forEach(function (s) { if (!s.getAttribute('aria-label')) say('a drawing has no text'); });
        all('path').forEach(function (p) { if (/nan|inf/i.test(p.getAttribute('d'))) say('a path has no number'); });
        if (all('path.curve').length < 4) say('no curves');
    }
    function sorting() {
        var table = document.getElementById('category-table'), button = all('th button', table)[1];
        if (!button) return say('columns cannot be sorted');
        [-1, 1].forEach(function (sign) {
            button.click();
            var values = all('tbody tr', table).map(function (tr) { return +tr.cells[1].dataset.v; }).filter(function (v) { return v === v; });
            for (var i = 1; i < values.length; i++) if (sign * (values[i] - values[i - 1]) < 0) say('not sorted: ' + values);
            if (button.parentNode.getAttribute('aria-sort') !== (sign < 0 ? 'descending' : 'ascending')) say('aria-sort');
        });
    }
    function filters() {
        var box = document.getElementById('wrong'), shown = function () {
            return all('section figure').filter(function (f) { return f.offsetParent !== null; }).length;
        }, before = shown();
        box.click();
        if (shown() !== all('section figure.wrong').length) say('the filter shows ' + shown());
        box.click();
        if (shown() !== before) say('the filter does not come back');
    }
    window.addEventListener('load', function () {
        try {
            tables();
            pictures();
            sorting();
            filters();
        } catch (e) {
            say('check: ' + e);
        }
        var width = document.documentElement.scrollWidth;
        if (width > window.innerWidth) say(width + ' px wide in a window of ' + window.innerWidth);
        all('nav a').forEach(function (a) { if (!document.querySelector(a.getAttribute('href'))) say('no ' + a.getAttribute('href')); });
        setTimeout(function () {
            var dark = getComputedStyle(document.body).backgroundColor.match(/\d+/g)[0] < 128;
            parent.postMessage((dark ? 'dark' : 'light') + ' at ' + window.innerWidth + ', ' + all('img').length + ' pictures: ' +
                (wrong.length ? wrong.join('; ') : 'all well'), '*');
        }, 0);
    });
})();
