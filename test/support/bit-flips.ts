import { chmodSync, readFileSync, writeFileSync } from 'node:fs';
import { SeededRandom } from '../../src/core/random.ts';

/** The number of places where one bit was flipped, one after the other, and the places that `isFound` missed. */
export interface FlipTally {
  readonly flipped: number;
  readonly missed: readonly string[];
}

/** Flips one bit at seeded places of these files, one at a time, and restores it. */
export function flipBits(
  files: readonly string[],
  count: number,
  seed: number,
  isFound: () => boolean,
): FlipTally {
  const random = new SeededRandom(seed);
  const contents = files.map((file) => readFileSync(file));
  const bytes = contents.reduce((sum, content) => sum + content.byteLength, 0);
  const missed: string[] = [];
  for (let number = 0; number < count; number += 1) {
    let place = random.below(bytes);
    const index = contents.findIndex((content) => {
      if (place < content.byteLength) return true;
      place -= content.byteLength;
      return false;
    });
    const file = files[index] ?? '';
    const sound = contents[index] ?? Buffer.alloc(0);
    const bit = random.below(8);
    const spoilt = Buffer.from(sound);
    spoilt.writeUInt8(spoilt.readUInt8(place) ^ (1 << bit), place);
    chmodSync(file, 0o600);
    writeFileSync(file, spoilt);
    if (!isFound()) missed.push(`${file} byte ${place} bit ${bit}`);
    writeFileSync(file, sound);
  }
  return { flipped: count, missed };
}
