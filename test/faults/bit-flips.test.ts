import { expect, it } from 'vitest';
import { segmentsOf } from '../../src/storage/capture/directory.ts';
import { EncryptionKey } from '../../src/storage/capture/encryption.ts';
import { verifyCapture } from '../../src/storage/capture/verify.ts';
import { flipBits } from '../support/bit-flips.ts';
import { captureOf } from '../support/captures.ts';
import { exchangeOf, requestMessage, TEST_EPOCH_US } from '../support/exchanges.ts';
import { repeated } from '../support/long-form.ts';

const PLACES = repeated(300, 1_000);
const KEY = EncryptionKey.from(Buffer.alloc(32, 1), 'a key');

it.each([
  ['plain', null, 11],
  ['encrypted', KEY, 12],
])(
  'one bit flipped at many places of a sealed capture is found each time: %s',
  {
    timeout: 300_000,
  },
  (_, key, seed) => {
    const hour = 3_600_000_000;
    const directory = captureOf(
      Array.from({ length: 1_500 }, (_, index) =>
        exchangeOf({
          arrivalUs: TEST_EPOCH_US + index * (hour / 600),
          request: requestMessage({ body: `{"prompt":"question ${index * 7919}"}` }),
        }),
      ),
      { encryption: key },
    );
    const files = segmentsOf(directory).flatMap(({ path }) => [path, `${path}.manifest.json`]);
    expect(files).toHaveLength(6);
    const verified = () => verifyCapture(directory, { encryptionKey: key, onSegment: () => {} });
    const { flipped, missed } = flipBits(files, PLACES, seed, () => !verified().ok);
    expect({ flipped, missed }).toEqual({ flipped: PLACES, missed: [] });
    expect(verified()).toMatchObject({ ok: true, exchanges: 1_500 });
  },
);
