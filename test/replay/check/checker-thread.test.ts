import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { describe, expect, test } from 'vitest';
import { AppError } from '../../../src/core/errors.ts';
import { SAME } from '../../../src/core/run.ts';
import { CheckerThread } from '../../../src/replay/check/answer-checks.ts';
import type { AnswerToCheck } from '../../../src/replay/check/answer-copy.ts';
import { type AnswerComparer, checkAnswers } from '../../../src/replay/check/checker.ts';
import { temporaryDirectory } from '../../support/temp-dir.ts';

const answer = (index: number): AnswerToCheck => ({
  index,
  segment: 's',
  exchangeId: index,
  route: null,
  streamed: false,
  facts: null,
  kept: null,
});

/** An entry that finds every answer the same, and throws at the ones it is told to. */
function entry(throwsAt: number): URL {
  const path = join(temporaryDirectory(), 'checker.mjs');
  const text = `
    import { parentPort } from 'node:worker_threads';
    parentPort.on('message', (answers) => {
      if (answers.some(({ index }) => index === ${throwsAt})) throw new RangeError('anybody’s text');
      parentPort.postMessage(answers.map(({ index }) => ({ index, check: { result: 'same' } })));
    });`;
  writeFileSync(path, text);
  return pathToFileURL(path);
}

describe('the thread that compares', () => {
  test('answers for what it is handed, and is begun anew when it fails, but not for ever', async () => {
    const heard: unknown[] = [];
    let next = Promise.withResolvers<void>();
    const tell = (what: unknown) => {
      heard.push(what);
      next.resolve();
      next = Promise.withResolvers();
    };
    const thread = new CheckerThread(
      entry(13),
      {},
      {
        checked: (answers) => tell(answers.map(({ index }) => index)),
        failed: (goesOn, reason) => tell([goesOn, reason]),
      },
    );
    for (const index of [1, 13, 2, 13, 13, 13]) {
      const told = next.promise;
      thread.check([answer(index)]);
      await told;
    }
    thread.check([answer(3)]);
    await thread.close();
    const failed = [true, 'RangeError'];
    expect(heard).toEqual([[1], failed, [2], failed, failed, [false, 'RangeError']]);
  });
});

describe('a batch of answers', () => {
  const comparer = (check: () => typeof SAME) => ({ check }) as unknown as AnswerComparer;

  test('says of an answer whose recorded one is spoilt that it could not be read, and not that comparing failed', () => {
    const spoilt = {
      request: null,
      get response(): null {
        throw new AppError('CAPTURE_DAMAGED', 'block 7 fails its checksum');
      },
      requestChunks: [],
      responseChunks: [],
    };
    const looks = {
      check: (payload: { response: unknown }) => payload.response,
    } as unknown as AnswerComparer;
    expect(checkAnswers([answer(1)], () => spoilt, looks)).toEqual([
      { index: 1, check: { result: 'unchecked', reason: 'recording_unreadable' } },
    ]);
  });

  test('has a result for each, whatever comes of one of them', () => {
    const read = (_segment: string, id: number) => {
      if (id === 1) throw new AppError('CAPTURE_NOT_FOUND', 'segment s is gone');
      return null;
    };
    let calls = 0;
    const broken = comparer(() => {
      calls += 1;
      if (calls === 1) throw new TypeError('a bug');
      return SAME;
    });
    expect(checkAnswers([answer(1), answer(2), answer(3)], read, broken)).toEqual([
      { index: 1, check: { result: 'unchecked', reason: 'recording_unreadable' } },
      { index: 2, check: { result: 'unchecked', reason: 'checker_failed' } },
      { index: 3, check: SAME },
    ]);
  });
});
