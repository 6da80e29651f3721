import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { AssemblyBudget } from '../../src/core/http1/budget.ts';
import { SerialProof } from '../../src/proxy/serial-proof.ts';

const ANSWER = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';

/** Heads that differ in the length of the body alone, now and then in more. */
function requestOf({
  bodyBytes,
  isOther,
  pad,
}: {
  bodyBytes: number;
  isOther: boolean;
  pad: string;
}): string {
  const body = 'GET / HTTP/1.1\r\n\r\n'.repeat(50).slice(0, bodyBytes);
  return `POST /${isOther ? 'b' : 'a'} HTTP/1.1\r\nHost: m\r\nContent-Length: ${pad}${bodyBytes}\r\n\r\n${body}`;
}

it('is the same whether requests come whole or in pieces, with heads like the last or not', () => {
  const request = fc.record({
    bodyBytes: fc.constantFrom(0, 9, 10, 42, 99, 100, 500),
    isOther: fc.constantFrom(false, false, false, true),
    pad: fc.constantFrom('', '', '', '0'),
  });
  const step = fc.record({ request, pieces: fc.constantFrom(1, 1, 2, 3) });
  fc.assert(
    fc.property(
      fc.array(step, { maxLength: 12, size: 'max' }),
      fc.integer({ min: 0, max: 15 }),
      (steps, aheadAt) => {
        const proof = new SerialProof(new AssemblyBudget(2 ** 16));
        let isProven = true;
        for (const [at, each] of steps.entries()) {
          expect(proof.nothingOpen).toBe(isProven);
          const isAhead = at === aheadAt;
          // In one piece with the next one, or each in pieces of its own.
          const text = requestOf(each.request) + (isAhead ? requestOf(each.request) : '');
          const length = Math.ceil(text.length / each.pieces);
          for (let from = 0; from < text.length; from += length) {
            proof.client(Buffer.from(text.slice(from, from + length)));
            expect(proof.nothingOpen).toBe(false);
          }
          isProven &&= !isAhead;
          proof.server(Buffer.from(ANSWER));
        }
        expect(proof.nothingOpen).toBe(isProven);
      },
    ),
  );
});

it('reads a head that differs from the last behind its length', () => {
  const proof = new SerialProof(new AssemblyBudget(2 ** 16));
  const ask = (field: string) => `POST / HTTP/1.1\r\nContent-Length: 2\r\n${field}: chunked\r\n\r\nok`;
  proof.client(Buffer.from(ask('Xransfer-Encoding')));
  proof.server(Buffer.from(ANSWER));
  expect(proof.nothingOpen).toBe(true);
  // Of both lengths servers take either.
  proof.client(Buffer.from(ask('Transfer-Encoding')));
  proof.server(Buffer.from(ANSWER));
  expect(proof.nothingOpen).toBe(false);
});

it('is gone for heads in pieces that find no room, which is counted, and gives back what it held', () => {
  // Room for the pieces of two, of which the first finds none for its rest, and the second then does.
  const budget = new AssemblyBudget(3 * 1_024);
  const head = `POST / HTTP/1.1\r\nX: ${'x'.repeat(1_500)}\r\nContent-Length: 0\r\n\r\n`;
  const proofs = Array.from({ length: 3 }, () => new SerialProof(budget));
  for (const proof of proofs) proof.client(Buffer.from(head.slice(0, 1_400)));
  for (const proof of proofs) proof.client(Buffer.from(head.slice(1_400)));
  for (const proof of proofs) proof.server(Buffer.from(ANSWER));
  expect(proofs.map(({ nothingOpen }) => nothingOpen)).toEqual([false, true, false]);
  expect(budget.refusals).toBe(2);
  for (const proof of proofs) proof.close();
  expect(budget.usedBytes).toBe(0);
});

it('keeps no head once it is closed, though its connection is not settled yet', () => {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  const held = (count: number) => {
    const proofs = Array.from({ length: count }, (_, at) => {
      const proof = new SerialProof(new AssemblyBudget(2 ** 16));
      proof.client(Buffer.from(`GET /${at} HTTP/1.1\r\nHost: m\r\nX: ${'x'.repeat(1_000)}\r\n\r\n`));
      proof.server(Buffer.from(ANSWER));
      proof.close();
      return proof;
    });
    collect();
    return { bytes: process.memoryUsage().arrayBuffers, proofs };
  };
  const few = held(1);
  expect(held(4_000).bytes - few.bytes).toBeLessThan(2_000_000);
});
