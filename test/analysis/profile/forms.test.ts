import { describe, expect, test } from 'vitest';
import { profileCsv } from '../../../src/analysis/profile/csv.ts';
import { profilePage } from '../../../src/analysis/profile/page.ts';
import { shareable } from '../../../src/analysis/profile/share.ts';
import { findingsOf, profileText } from '../../../src/analysis/profile/view.ts';
import type { ExchangeRow } from '../../../src/core/exchange.ts';
import { SeededRandom } from '../../../src/core/random.ts';
import { exchangeRow } from '../../support/exchange-row.ts';
import { testHash } from '../../support/exchanges.ts';
import { HOSTILE_METHOD, HOSTILE_MODEL, HOSTILE_ROUTE } from '../../support/profiled-capture.ts';
import { profileOf } from '../../support/profiles.ts';

const ASSETS = { script: 'var uPlot;', style: '' };
const client = testHash.ofIdentity('client', 'acme');
const clientHex = Buffer.from(client).toString('hex');

const profile = profileOf([
  exchangeRow({
    arrivalUs: 1.7e15,
    client,
    session: client,
    route: 'POST /v1/chat/completions',
    model: 'llama-3.1-8b-instruct',
  }),
  exchangeRow({ arrivalUs: 1.7e15 + 1, client, route: 'POST /v2/models/{model}/infer', model: 'acme-fraud' }),
  exchangeRow({ arrivalUs: 1.7e15 + 2, route: 'GET /tenants/acme/models/{id}', model: 'ft:gpt-4o:acme::9x' }),
  exchangeRow({ arrivalUs: 1.7e15 + 3, method: HOSTILE_METHOD, route: HOSTILE_ROUTE, model: HOSTILE_MODEL }),
]);

describe('a profile that is shared', () => {
  const shared = shareable({ ...profile, filters: ['client 0011223344556677', 'recorder abc'] });

  test('names no client, no session, no directory and no value of a filter', () => {
    const text = JSON.stringify(shared);
    for (const name of [clientHex, 'acme', 'alice', 'evil', '/captures', '00112233', 'abc'])
      expect(text).not.toContain(name);
    expect(shared.filters).toEqual(['client', 'recorder']);
    expect(shared.privacy.shared).toBe(true);
  });

  test('keeps public routes and models, and all numbers', () => {
    const routes = shared.mix.routes.map(({ route }) => route);
    expect(routes).toContain('POST /v1/chat/completions');
    expect(routes).toContain('POST /v2/models/{model}/infer');
    expect(
      routes.some((route) => /^GET \/\{segment \d\}\/\{segment \d\}\/models\/\{id\}$/.test(route ?? '')),
    ).toBe(true);
    expect(shared.mix.models.map(({ model }) => model)).toContain('llama-3.1-8b-instruct');
    expect(shared.clients).toMatchObject({ count: 1, top: [{ id: null, requests: 2 }] });
    expect(shared.latencyMs).toEqual(profile.latencyMs);
  });

  const sharedNames = (name: string) => {
    const { routes, models } = shareable(
      profileOf([exchangeRow({ route: `POST /score/${name}/predict`, model: name })]),
    ).mix;
    return [routes[0]?.route === `POST /score/${name}/predict`, models[0]?.model === name];
  };

  test.each([
    ['llama-3.1-8b-instruct', true, true],
    ['resnet50', true, true],
    ['completions', true, true],
    ['v1.0', true, true],
    ['gpt-4o-2024-08-06', false, true],
    ['gpt-3.5-turbo-0125', false, true],
    ['o3', false, true],
    ['sam', false, true],
    ['ada', false, true],
    ['acme', false, false],
    ['llama-acme', false, false],
    ['alice@example.test', false, false],
  ])('keeps %j in a route: %s, as a model: %s', (name, inRoute, asModel) => {
    expect(sharedNames(name)).toEqual([inRoute, asModel]);
  });

  test.each([
    '078-05-1120',
    '4111-1111-1111-1111',
    '555-867-5309',
    '10.12.13.14',
    'llm-10.1.2.3',
    'message-078-05-1120',
    'id-4711',
    'k8s-1984-02-11',
    'iris-1984-02-11',
    '12:34',
  ])('keeps no identifier made of digits and separators: %j', (name) => {
    const [inRoute, asModel] = sharedNames(name);
    expect(inRoute).toBe(false);
    // A model is no customer's number: there a short one is a version.
    if (name !== 'id-4711') expect(asModel).toBe(false);
  });
});

describe('names of routes and models', () => {
  test.each([
    ['POST /bot123456:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw/send', 'POST /bot123456:{token}/send'],
    ['GET /k/AKIAIOSFODNN7EXAMPLE', 'GET /k/{token}'],
    ['GET /t/eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln', 'GET /t/{token}'],
    ['POST /v1/chat/completions', 'POST /v1/chat/completions'],
    ['Meta-Llama-3.1-8B-Instruct-GPTQ-INT4', 'Meta-Llama-3.1-8B-Instruct-GPTQ-INT4'],
    ['resnet50_v2_quantized', 'resnet50_v2_quantized'],
  ])('of %j a profile shows %j', (name, shown) => {
    const profile = profileOf([exchangeRow({ route: name, model: name })]);
    expect(profile.mix.routes[0]?.route).toBe(shown);
    expect(profile.mix.models[0]?.model).toBe(shown);
  });
});

describe('recorded text', () => {
  test('is inert in a table', () => {
    const csv = profileCsv(profile);
    expect(csv).toContain('"\'=HYPERLINK(""http://evil.example"",""x"")"');
    expect(csv).not.toContain('\u001b');
    for (const line of csv.split('\r\n')) expect(line).not.toMatch(/(?:^|,)"?[=+@]/);
  });

  test('every row of a table has a unit', () => {
    const units = new Map(
      profileCsv(profile)
        .trimEnd()
        .split('\r\n')
        .slice(1)
        .map((line) => [line.split(',').slice(0, 3).join(), line.slice(line.lastIndexOf(',') + 1)]),
    );
    for (const [row, unit] of units) expect([row, unit]).not.toEqual([row, '']);
    expect([...new Set(units.values())].sort()).toEqual(
      ['1/s', 'B', 'count', 'instant', 'ms', 'ratio', 's', 'share', 'text', 'tokens', 'yes or no'].sort(),
    );
    expect(units.get('rate,,mean')).toBe('1/s');
    expect(units.get('rate,,peakToMean1s')).toBe('ratio');
    expect(units.get('latencyMs,,p99')).toBe('ms');
    expect(units.get('latencyMs,,count')).toBe('count');
    expect(units.get('requestBytes,,p50')).toBe('B');
    expect(units.get('duplicateRatio,,ratio') ?? units.get('duplicateRatio,,duplicateRatio')).toBe('share');
  });

  test('is inert in a page, in its data as well', () => {
    const html = profilePage(profile, ASSETS);
    expect(html).not.toMatch(/<img/);
    expect(html).not.toContain('alice</script>');
    expect(html).not.toContain('\u001b');
    expect(html).not.toContain('\u202e');
    expect(html.match(/<\/script>/g)).toHaveLength(2);
  });
});

describe('the page', () => {
  test('allows nothing but its own style and script', () => {
    const html = profilePage(profile, ASSETS);
    const policy = /Content-Security-Policy" content="([^"]*)"/.exec(html)?.[1] ?? '';
    expect(policy).toMatch(
      /^default-src 'none'; style-src 'sha256-[^']+'; script-src 'sha256-[^']+'; base-uri 'none'; form-action 'none'$/,
    );
    expect(html).not.toMatch(/<[a-z]+[^>]*\s(?:src=|href="(?!#))/);
    expect(html).not.toMatch(/ style=/);
  });

  test('of nothing, and of one request, is a page that says so', () => {
    expect(profilePage(profileOf([]), ASSETS)).toContain('No request lies in the window.');
    expect(profilePage(profileOf([exchangeRow()]), ASSETS)).toContain('1 request: too few');
    expect(profileText(profileOf([exchangeRow()]))[1]).toMatch(/, 1 request$/);
    expect(profileText(profileOf([])).join('\n')).toContain('the capture holds no exchange');
    expect(profileCsv(profileOf([]))).toContain('requests,,requests,0,');
  });
});

/** The requests per second that the page draws. */
function drawnRates(rows: readonly ExchangeRow[]): (number | null)[] {
  const [, json = ''] = /id="charts">(.*?)<\/script>/.exec(profilePage(profileOf(rows), ASSETS)) ?? [];
  return JSON.parse(json).charts.find(({ id }: { id: string }) => id === 'rate').lines[0].values;
}

/** Poisson arrivals at 36/s for 25 s. */
function randomRows(seed: number, fromUs: number): ExchangeRow[] {
  const random = new SeededRandom(seed);
  let arrivalUs = fromUs;
  return Array.from({ length: 900 }, () => {
    arrivalUs += Math.round(-Math.log((random.below(1e6) + 1) / 1e6) * 28e3);
    return exchangeRow({ arrivalUs });
  });
}

test('the page drew a second with 50 requests, and said that the busiest has 49', () => {
  const rows = randomRows(7, 1.7e15 + 0.7e6);
  const { rate } = profileOf(rows);
  expect(Math.max(...drawnRates(rows).map((value) => value ?? 0))).toBe(rate.peak1s);
});

test('even traffic stands out as even, and random traffic without faults as nothing', () => {
  const even = Array.from({ length: 300 }, (_, at) => exchangeRow({ arrivalUs: 1.7e15 + at * 0.1e6 }));
  expect(findingsOf(profileOf(even))).toEqual([expect.stringContaining('more even')]);
  const rows = randomRows(3, 1.7e15);
  const { arrivalUs } = rows.at(-1) as ExchangeRow;
  expect(findingsOf(profileOf(rows))).toEqual([]);
  expect(profilePage(profileOf(rows), ASSETS)).not.toContain('stands out');
  const burst = Array.from({ length: 90 }, () => exchangeRow({ arrivalUs: arrivalUs + 1e6 }));
  const end = exchangeRow({ arrivalUs: arrivalUs + 5e6 });
  expect(findingsOf(profileOf([...rows, ...burst, end]))).toContainEqual(
    expect.stringContaining('The busiest second had'),
  );
});

test('the rate has no cliff where the window begins and ends within a step', () => {
  const startUs = 1.7e15 + 0.7e6;
  const rows = Array.from({ length: 300 }, (_, at) => exchangeRow({ arrivalUs: startUs + at * 0.1e6 }));
  const values = drawnRates(rows);
  expect(values.at(-1)).toBeNull();
  expect(new Set(values.slice(0, -1))).toEqual(new Set([10]));
});
