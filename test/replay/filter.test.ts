import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Problems } from '../../src/core/errors.ts';
import type { ExchangeRow } from '../../src/core/exchange.ts';
import { byProgram, readOptions, type StatedOptions } from '../../src/core/options.ts';
import { describeFilters } from '../../src/documents/replay-plan.ts';
import { assertRecorders, Glob, rowFilterOf } from '../../src/replay/filter.ts';
import { type Filters, filtersOf, selectionOptions } from '../../src/replay/options/window-options.ts';
import { exchangeRow } from '../support/exchange-row.ts';
import { repeated } from '../support/long-form.ts';
import { requestPayload } from '../support/memory-capture.ts';

const SHAPE = selectionOptions('play');
type RawFilterOptions = StatedOptions<typeof SHAPE>;

function resolved(raw: RawFilterOptions): Filters {
  const problems = new Problems();
  const filters = filtersOf(readOptions(SHAPE, byProgram(SHAPE, raw), problems), problems);
  problems.throwIfAny();
  return filters;
}

/** Whether a row passes; `target` is what its payload says, null for none. */
function passes(raw: RawFilterOptions, facts: Partial<ExchangeRow>, target: string | null = null): boolean {
  const filter = rowFilterOf(resolved(raw), () => (target === null ? null : requestPayload(target)));
  return filter === null || filter(exchangeRow(facts));
}

describe('a filter of rows', () => {
  it('is none where nothing was asked for', () => {
    expect(rowFilterOf(resolved({}), () => null)).toBeNull();
    expect(describeFilters(resolved({}))).toEqual([]);
  });

  it.each<[RawFilterOptions, Partial<ExchangeRow>, boolean]>([
    [{ filter: ['method=post'] }, { method: 'POST' }, true],
    [{ filter: ['method=GET', 'method=HEAD'] }, { method: 'POST' }, false],
    [{ filter: ['method=GET'] }, { method: null }, false],
    [{ filter: ['status=2xx|429'] }, { status: 204 }, true],
    [{ filter: ['status=2xx', 'status=429'] }, { status: 429 }, true],
    [{ filter: ['status=2xx|429'] }, { status: 428 }, false],
    [{ filter: ['status=2xx'] }, { status: null }, false],
    [{ filter: ['status=none'] }, { status: null }, true],
    [{ filter: ['status=none'] }, { status: 200 }, false],
    [{ filter: ['status=UNAVAILABLE'] }, { status: 503, grpcStatus: 14 }, true],
    [{ filter: ['status=unavailable|2xx'] }, { status: 503, grpcStatus: 14 }, true],
    [{ filter: ['status=UNAVAILABLE'] }, { status: 503 }, false],
    [{ filter: ['status=503'] }, { status: 503, grpcStatus: 14 }, true],
    [{ filter: ['status=INTERNAL'] }, { status: 500, grpcStatus: 2 }, false],
    [{ filter: ['model=res*'] }, { model: 'resnet' }, true],
    [{ filter: ['model=*/chat'] }, { model: 'org/sub/chat' }, true],
    [{ filter: ['model=resnet'] }, { model: null }, false],
    [{ filter: ['client-hash=0102030405060708'] }, { client: Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8) }, true],
    [{ filter: ['client-hash=0102030405060709'] }, { client: Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8) }, false],
    [{ filter: ['client-hash=0102030405060709'] }, { client: null }, false],
    [{ filter: ['min-body-size=1KiB'] }, { requestBytes: 1_024 }, true],
    [{ filter: ['min-body-size=1KiB'] }, { requestBytes: 1_023 }, false],
    [{ filter: ['max-body-size=1KiB'] }, { requestBytes: 1_024 }, true],
    [{ filter: ['max-body-size=1KiB'] }, { requestBytes: 1_025 }, false],
    [{ filter: ['method=POST', 'status=5xx'] }, { method: 'POST', status: 200 }, false],
  ])('%j lets %j pass: %s', (raw, facts, expected) => {
    expect(passes(raw, facts)).toBe(expected);
  });

  it.each<[string, Partial<ExchangeRow>, string | null, boolean]>([
    ['/v2/models/resnet/infer', {}, null, true],
    ['/v2/models/*/infer', {}, null, true],
    ['/v2/models/*', {}, null, false],
    ['/v2/**', {}, null, true],
    // What a route calls {id} only the request itself tells.
    ['/orders/17', { route: 'GET /orders/{id}', model: null }, '/orders/17?full=1', true],
    ['/orders/18', { route: 'GET /orders/{id}', model: null }, '/orders/17', false],
    ['/orders/*', { route: 'GET /orders/{id}', model: null }, null, true],
    ['/v1/models/a%2Fb', { route: 'GET /v1/models/{model}', model: 'a/b' }, '/v1/models/a%2Fb', true],
    ['/**', { route: null }, null, false],
  ])('path=%s holds against %j with the target %j: %s', (path, facts, target, expected) => {
    expect(passes({ filter: [`path=${path}`] }, facts, target)).toBe(expected);
  });

  it('opens no payload for a path that the row gives away', () => {
    const filter = rowFilterOf(resolved({ filter: ['path=/v2/models/*/infer'] }), () => {
      throw new Error('opened');
    });
    expect(filter?.(exchangeRow())).toBe(true);
  });

  it.each<[RawFilterOptions, RegExp]>([
    [{ filter: ['method=GET /'] }, /--filter method: "GET \/" is not a method/],
    [{ filter: ['status=6xx'] }, /--filter status: "6xx"/],
    [{ filter: ['status=20'] }, /--filter status/],
    [{ filter: ['status=UNAVAILBLE'] }, /--filter status: "UNAVAILBLE"/],
    [{ filter: ['path=models'] }, /--filter path: "models" is not a path/],
    [{ filter: ['client-hash=10.0.0.1'] }, /--filter client-hash: "10.0.0.1" is not the hash of a client/],
    [{ filter: ['min-body-size=2KiB', 'max-body-size=1KiB'] }, /min-body-size is more than max-body-size/],
    [{ filter: ['min-body-size=1KiB', 'min-body-size=2KiB'] }, /min-body-size is given twice/],
    [{ filter: ['modle=a'] }, /--filter: there is no part modle/],
    [{ filter: ['llama'] }, /--filter: "llama" is not NAME=VALUE/],
    [
      { filter: Array.from({ length: 65 }, (_, at) => `model=m${at}`) },
      /65 values of model are more than 64/,
    ],
  ])('refuses %j', (raw, message) => {
    expect(() => resolved(raw)).toThrow(message);
  });

  it('names the recorders there are to whoever asks for another', () => {
    const known = [{ id: 'aa', host: 'pod-1' }];
    expect(() => assertRecorders(['aa', 'bb'], known)).toThrow(
      expect.objectContaining({ code: 'OPTION_INVALID', hint: 'It has aa (pod-1).' }),
    );
    assertRecorders(['aa'], known);
  });
});

describe('Glob', () => {
  it('matches what a regular expression of the same meaning does', () => {
    const pieces = fc.array(fc.constantFrom('a', 'b', '/', '*', '**', '.', 'ab'), { maxLength: 8 });
    const names = fc.array(fc.constantFrom('a', 'b', '/', '.'), { maxLength: 10 });
    fc.assert(
      fc.property(pieces, names, (pattern, name) => {
        const text = pattern.join('');
        const source = text
          .split(/(\*+)/)
          .map((piece) =>
            piece === '*' ? '[^/]*' : piece.startsWith('*') ? '.*' : piece.replaceAll('.', '\\.'),
          )
          .join('');
        const expected = new RegExp(`^(?:${source})$`).test(name.join(''));
        expect(new Glob(text, '/').matches(name.join(''))).toBe(expected);
      }),
      { numRuns: repeated(250, 1_000) },
    );
  });

  it('takes a hostile name in its stride', () => {
    const glob = new Glob(`/${'**a'.repeat(100)}b`, '/');
    expect(glob.matches(`/${'a'.repeat(8_000)}`)).toBe(false);
  });
});
