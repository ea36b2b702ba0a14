// SPDX-License-Identifier: Apache-2.0
// ONNX Runtime behind one line of text a command, for `cozad bench --against onnxruntime`.
//
//   node onnxruntime.js PEERS_FOLDER THREADS BATCH REFERENCE.safetensors
//
// REFERENCE holds "input" [n, 3, H, W] and, for each tap, what the same weights give for it in F32. Commands on stdin, one
// answer a line on stdout: a result, or "error TEXT".
//   version              1.30.0
//   load NAME FILE       ok                 a session with THREADS threads, all optimisations; batch BATCH
//   ranges FILE OUT      ok                 runs a graph of min:NAME, max:NAME outputs (batch n); writes {NAME: [min, max]}
//   check NAME           0.0000012 …        relative root mean square difference from REFERENCE, the worst of the taps
//   run NAME COUNT       12.3 12.2 …        milliseconds of COUNT runs, each of BATCH images
'use strict';
const fs = require('fs');
const path = require('path');
const readline = require('readline');

const [folder, threadsText, batchText, referencePath] = process.argv.slice(2);
const ort = require(path.join(folder, 'node_modules', 'onnxruntime-node'));
const threads = Number(threadsText);
const batch = Number(batchText);
const sessions = new Map();

function readSafetensors(file) {
  const bytes = fs.readFileSync(file);
  const length = Number(bytes.readBigUInt64LE(0));
  const header = JSON.parse(bytes.subarray(8, 8 + length).toString('utf8'));
  const tensors = {};
  for (const [name, entry] of Object.entries(header)) {
    if (name === '__metadata__') continue;
    const [begin, end] = entry.data_offsets;
    const copy = new Uint8Array(bytes.subarray(8 + length + begin, 8 + length + end)); // aligned
    tensors[name] = { shape: entry.shape, values: new Float32Array(copy.buffer, 0, copy.length / 4) };
  }
  return tensors;
}

const reference = readSafetensors(referencePath);

// The reference's images over and over until there are `count`.
function repeated(count) {
  const { shape, values } = reference.input;
  const one = values.length / shape[0];
  const out = new Float32Array(count * one);
  for (let i = 0; i < count; i++) out.set(values.subarray((i % shape[0]) * one, (i % shape[0] + 1) * one), i * one);
  return new ort.Tensor('float32', out, [count, ...shape.slice(1)]);
}

const input = repeated(batch);

function open(file) {
  return ort.InferenceSession.create(file, {
    executionProviders: ['cpu'],
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
    executionMode: 'sequential',
    graphOptimizationLevel: 'all',
    logSeverityLevel: 3,
  });
}

async function ranges(file, out) {
  const session = await open(file);
  const results = await session.run({ input: repeated(reference.input.shape[0]) });
  const found = {};
  for (const name of Object.keys(results)) {
    const activation = name.slice(4);
    found[activation] = found[activation] || [0, 0];
    found[activation][name.startsWith('max:') ? 1 : 0] = Number(results[name].data[0]);
  }
  fs.writeFileSync(out, JSON.stringify(found));
  await session.release();
  return 'ok';
}

async function check(name) {
  const results = await sessions.get(name).run({ input });
  let worst = 0;
  for (const tap of Object.keys(results)) {
    const ours = reference[tap].values;
    const theirs = results[tap].data;
    const one = ours.length / reference[tap].shape[0];
    if (theirs.length !== batch * one) throw new Error(`${tap}: ${theirs.length} values instead of ${batch * one}`);
    let difference = 0;
    let total = 0;
    for (let i = 0; i < theirs.length; i++) {
      const value = ours[(Math.floor(i / one) % reference[tap].shape[0]) * one + (i % one)];
      difference += (theirs[i] - value) ** 2;
      total += value ** 2;
    }
    worst = Math.max(worst, Math.sqrt(difference / total));
  }
  return worst.toExponential(6);
}

async function run(name, count) {
  const session = sessions.get(name);
  const ms = [];
  const outputs = await session.run({ input }); // written to again below: no allocation is timed
  for (let i = 0; i < count; i++) {
    const start = process.hrtime.bigint();
    await session.run({ input }, outputs);
    ms.push(Number(process.hrtime.bigint() - start) / 1e6);
  }
  return ms.map((value) => value.toFixed(4)).join(' ');
}

async function answer(line) {
  const [verb, ...words] = line.split('\t');
  switch (verb) {
    case 'version':
      return ort.env.versions.node || ort.env.versions.common;
    case 'load':
      sessions.set(words[0], await open(words[1]));
      return 'ok';
    case 'ranges':
      return ranges(words[0], words[1]);
    case 'check':
      return check(words[0]);
    case 'run':
      return run(words[0], Number(words[1]));
    default:
      throw new Error(`unknown command ${verb}`);
  }
}

(async () => {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    let text;
    try {
      text = await answer(line);
    } catch (e) {
      text = 'error ' + String(e && e.message ? e.message : e).replace(/\s+/g, ' ');
    }
    process.stdout.write(text + '\n');
  }
})();
