// Makes genai-prices.bin, the price table that the plugin embeds, and golden.json,
// what the data's own calculator says about it:
//
//   npm install --no-save @pydantic/genai-prices@VERSION && node make.mjs VERSION
//
// The data is that of genai-prices, Copyright (c) Pydantic Services Inc. 2025 to
// present, under the MIT License: see LICENSE.genai-prices beside this file.
//
// genai-prices.bin is gzip members one after the other: first the index, a list of
// providers in order, each with the size of its own member; then for each provider
// its models. What the plugin does not use (descriptions, links, prices by the hour
// or the picture) is left out.
import fs from 'fs';
import zlib from 'zlib';
import { calcPrice } from '@pydantic/genai-prices';

const version = process.argv[2];
const folder = 'node_modules/@pydantic/genai-prices';
if (JSON.parse(fs.readFileSync(folder + '/package.json')).version !== version) throw new Error('the installed version is not ' + version);

// The package exports functions only; its data is the first array literal.
function literal(text) {
  const start = text.search(/const \w+ = \[/);
  const from = text.indexOf('[', start);
  let depth = 0, quote = '';
  for (let i = from; i < text.length; i++) {
    const c = text[i];
    if (quote) {
      if (c === '\\') i++;
      else if (c === quote) quote = '';
    } else if (c === '"' || c === "'" || c === '`') quote = c;
    else if (c === '[' || c === '{') depth++;
    else if ((c === ']' || c === '}') && --depth === 0) return (0, eval)(text.slice(from, i + 1));
  }
  throw new Error('no data found');
}

// Go's regular expressions have no lookahead: ^(?!A)B becomes "not ^A, and ^B".
function clause(c) {
  for (const list of ['or', 'and']) if (c[list]) return { [list]: c[list].map(clause) };
  if (c.regex === undefined) return Object.fromEntries(Object.entries(c).map(([rule, text]) => [rule, text.toLowerCase()]));
  const m = c.regex.match(/^\^\(\?!/);
  if (!m) {
    if (c.regex.includes('(?')) if (/\(\?[^:]/.test(c.regex)) throw new Error('cannot translate ' + c.regex);
    return c;
  }
  let depth = 1, i = m[0].length;
  for (; depth > 0; i++) {
    if (c.regex[i] === '\\') i++;
    else if (c.regex[i] === '(') depth++;
    else if (c.regex[i] === ')') depth--;
  }
  const not = { not: { regex: '^' + c.regex.slice(m[0].length, i - 1) } }, rest = c.regex.slice(i);
  return rest === '' ? not : { and: [not, clause({ regex: '^' + rest })] };
}

const units = {
  input_mtok: 'input', output_mtok: 'output', cache_read_mtok: 'cached', cache_write_mtok: 'cache_write',
  cache_write_1h_mtok: 'cache_write_1h', output_reasoning_mtok: 'reasoning', requests_kcount: 'request',
};
function rates(prices) {
  const out = {};
  for (const [key, price] of Object.entries(prices)) if (units[key]) out[units[key]] = price;
  // Sold by something else than tokens: of no use here, and not free.
  if (Object.keys(prices).length > 0 && out.input === undefined && out.output === undefined) return { other: true };
  return out;
}
function dated(prices) {
  if (!Array.isArray(prices)) return [rates(prices)];
  return prices.map(({ constraint: c, prices }) => {
    const r = rates(prices);
    if (c?.type === 'start_date') r.from = c.start_date;
    else if (c?.type === 'time_of_date') [r.start, r.end] = [c.start_time, c.end_time].map((t) => {
      if (!/^\d\d:\d\d:00Z$/.test(t)) throw new Error('cannot translate time ' + t);
      return t.slice(0, 5);
    });
    else if (c) throw new Error('cannot translate ' + JSON.stringify(c));
    return r;
  });
}

const data = literal(fs.readFileSync(folder + '/dist/index.js', 'utf8'));
const pack = (value) => zlib.gzipSync(JSON.stringify(value), { level: 9 });
const members = data.map((p) => pack(p.models.map((m) => ({ id: m.id, match: clause(m.match), prices: dated(m.prices) }))));
const index = data.map((p, i) => ({
  id: p.id, api: p.api_pattern, model: p.model_match && clause(p.model_match), name: p.provider_match && clause(p.provider_match),
  fallback: p.fallback_model_providers, size: members[i].length,
}));
fs.writeFileSync('genai-prices.bin', Buffer.concat([pack({ version: 'genai-prices ' + version, providers: index }), ...members]));

// Every twelfth model, and all with dates or tiers, at two moments and for two uses.
const at = ['2026-07-01T02:00:00Z', '2026-09-20T12:00:00Z'];
const cases = [];
for (const p of data) p.models.forEach((m, i) => {
  const text = JSON.stringify(m.prices);
  if (i % 12 && !/tiers|constraint/.test(text)) return;
  const first = (c) => c.equals ?? c.starts_with ?? c.contains ?? (c.or ?? c.and ?? []).map(first).find(Boolean);
  const name = first(m.match) ?? m.id;
  for (const [n, timestamp] of at.entries()) {
    const last = dated(m.prices);
    if (last.some((r) => r.other)) return;
    for (const big of [0, 1]) {
      const use = { input_tokens: big ? 300_007 : 1_234, cache_read_tokens: big ? 100_003 : 0, cache_write_tokens: big ? 50_001 : 0, output_tokens: last.some((r) => r.output !== undefined) ? 567 : 0 };
      if (n === 1 && big === 0) continue;
      const got = calcPrice(use, name, { providerId: p.id, timestamp: new Date(timestamp) });
      if (!got || dated(got.model.prices).some((r) => r.other)) continue;
      cases.push([p.id, name, timestamp, use.input_tokens, use.cache_read_tokens, use.cache_write_tokens, use.output_tokens, got.model.id, got.total_price]);
    }
  }
});
fs.writeFileSync('golden.json', '[\n' + cases.map((c) => JSON.stringify(c)).join(',\n') + '\n]\n');
console.log(data.length, 'providers', data.reduce((n, p) => n + p.models.length, 0), 'models', cases.length, 'cases', fs.statSync('genai-prices.bin').size, 'bytes');
