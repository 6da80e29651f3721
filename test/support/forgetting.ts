import { expect } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import type { Exchange } from '../../src/core/exchange.ts';
import type { EncryptionKey } from '../../src/storage/capture/encryption.ts';
import {
  type ForgetDocument,
  type ForgetOptions,
  type ForgetSelection,
  forgetExchanges,
} from '../../src/storage/capture/forget.ts';
import { CaptureReader } from '../../src/storage/capture/reader.ts';
import { verifyCapture } from '../../src/storage/capture/verify.ts';
import { exchangeOf, requestMessage, responseMessage, TEST_EPOCH_US, testHash } from './exchanges.ts';
import { wholePayload } from './whole-payload.ts';

export const HOUR_US = 3_600_000_000;

export const session = (text: string) => testHash.ofIdentity('session', text);
export const ofSession = (text: string): ForgetSelection => ({
  identity: { kind: 'session', hashes: [session(text)] },
  fromUs: null,
  toUs: null,
});

/** Forgets the whole selection. `onSegment` is called before each segment is rewritten. */
export function forget(
  directory: string,
  selection: ForgetSelection,
  { onSegment, ...parts }: Partial<ForgetOptions & { onSegment: (file: string) => void }> = {},
): ForgetDocument {
  const steps = forgetExchanges(directory, {
    selection,
    hashKeyFingerprint: testHash.fingerprint(),
    encryptionKey: null,
    dryRun: false,
    clock: systemClock,
    ...parts,
  });
  for (let step = steps.next(); ; step = steps.next()) {
    if (step.done) {
      if (step.value === null) throw new Error('the forgetting was given up');
      return step.value;
    }
    onSegment?.(step.value);
  }
}

export function verified(directory: string, encryptionKey: EncryptionKey | null = null) {
  const { ok, problems, exchanges, leftovers } = verifyCapture(directory, {
    encryptionKey,
    onSegment: () => {},
  });
  expect(problems).toEqual([]);
  return { ok, exchanges, leftovers };
}

export function contentOf(directory: string, encryptionKey: EncryptionKey | null = null) {
  const reader = new CaptureReader(directory, { encryptionKey });
  try {
    return [...reader.rows()].map((row) => ({ row, payload: wholePayload(reader.payload(row)) }));
  } finally {
    reader.close();
  }
}

/** Two clients (Adalberta and Ben) in turn over two hours: own bodies, a shared one, and one too large for a block. */
export function conversation(): Exchange[] {
  return Array.from({ length: 60 }, (_, index) => {
    const who = index % 2 === 0 ? 'Adalberta' : 'Ben';
    const own = `{"prompt":"${who} asks question ${index}"}`;
    const body = index % 10 < 2 ? '{"prompt":"what both ask"}' : own;
    return exchangeOf({
      arrivalUs: TEST_EPOCH_US + index * (HOUR_US / 30),
      session: session(who),
      client: testHash.ofIdentity('client', `${who} at home`),
      route: `POST /chat/${who}`,
      status: index % 7 === 0 ? 503 : 200,
      request: requestMessage({
        target: `/chat/${who}`,
        body: index === 4 ? Buffer.from(`${own}${'Adalberta goes on '.repeat(30_000)}`) : body,
      }),
      response: responseMessage(200, `{"answer":"for ${who} ${index}"}`),
    });
  });
}
