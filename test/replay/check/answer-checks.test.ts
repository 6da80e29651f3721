import { describe, expect, test } from 'vitest';
import { LIMITS } from '../../../src/core/limits.ts';
import { type CheckedSend, type CheckLevel, checkWord, type Send } from '../../../src/core/run.ts';
import { AnswerChecks, type CheckerListener } from '../../../src/replay/check/answer-checks.ts';
import type { AnswerToCheck, KeptAnswer } from '../../../src/replay/check/answer-copy.ts';
import { KeepingBudget } from '../../../src/replay/check/answer-copy.ts';
import type { SendResult } from '../../../src/replay/engine/messages.ts';
import { CHECK_TOLERANCE } from '../../../src/replay/options/parsers.ts';
import { exchangeRow as rowOf } from '../../support/exchange-row.ts';
import { send as sendOf } from '../../support/sends.ts';

/** Takes answers and does nothing with them until it is told. */
class IdleChecker {
  readonly answers: AnswerToCheck[] = [];
  closed = false;

  check(answers: readonly AnswerToCheck[]): void {
    this.answers.push(...answers);
  }

  async close(): Promise<void> {
    this.closed = true;
  }
}

function scene(level: CheckLevel = 'values') {
  const checker = new IdleChecker();
  const told: CheckedSend[] = [];
  const warnings: string[] = [];
  let listener: CheckerListener | null = null;
  const checks = new AnswerChecks({
    options: { level, tolerance: CHECK_TOLERANCE, ignore: ['/x'] },
    createChecker: (heard) => {
      listener = heard;
      return checker;
    },
    onChecked: (sends) => told.push(...sends),
    logger: { warn: ({ reason }: { reason?: string }) => warnings.push(reason ?? '') },
  });
  const take = (send: Partial<Send> = {}, row = {}, more: { changed?: boolean; kept?: KeptAnswer } = {}) => {
    const full = sendOf({ index: 0, status: 200, ...send });
    const { changed = false, kept = null } = more;
    checks.planned({ index: full.index, intendedOffsetNs: 0, row: rowOf(row), streams: false, changed });
    const [taken] = checks.take([{ kept } as unknown as SendResult], [full]);
    return taken?.check == null ? null : checkWord(taken.check);
  };
  const words = () => told.map(({ index, check }) => `${index} ${checkWord(check)}`);
  return { checks, checker, take, words, warnings, listener: () => listener as CheckerListener | null };
}

/** Three bytes that are held. */
function kept(budget: KeepingBudget): KeptAnswer {
  budget.take(3);
  return { contentType: null, contentEncoding: null, inferenceHeaderLength: null, bytes: Buffer.alloc(3) };
}

describe('the checks of a run', () => {
  test('decide by facts what needs no body', () => {
    const { take, checker } = scene();
    expect(take({ actualOffsetNs: null, refused: true, status: null })).toBeNull();
    expect(take({ cancelled: true })).toBeNull();
    expect(take({ error: 'stopped', status: null })).toBeNull();
    expect(take({ error: 'reset', status: null })).toBe('unchecked:no_answer');
    expect(take({}, { status: null })).toBe('unchecked:no_recorded_answer');
    expect(take({ status: 500 })).toBe('mismatch:status');
    expect(take({ status: 200 }, { status: 503 })).toBe('mismatch:status');
    expect(take({}, { outcome: 'client_aborted' })).toBe('unchecked:recorded_incomplete');
    expect(take({ error: 'broken_stream' })).toBe('mismatch:finish');
    expect(take({}, {}, { changed: true })).toBe('unchecked:request_changed');
    expect(checker.answers).toEqual([]);
  });

  test('need no checker, and no copies, where statuses are all that is compared', async () => {
    const { take, checks, listener } = scene('status');
    expect([take(), take({ status: 404 }), take({ error: 'closed_early' })]).toEqual([
      'same',
      'mismatch:status',
      'mismatch:finish',
    ]);
    expect([listener(), checks.keeping]).toEqual([null, null]);
    await checks.finish();
  });

  test('hand the rest over, tell what came of it, and let its memory go', () => {
    const { take, checks, checker, words, listener } = scene();
    const budget = new KeepingBudget(checks.keeping as NonNullable<typeof checks.keeping>);
    expect(take({ index: 5, route: 'POST /v2/models/{model}/infer' }, {}, { kept: kept(budget) })).toBeNull();
    expect(checker.answers).toMatchObject([{ index: 5, streamed: false, kept: { contentType: null } }]);
    expect(budget.held).toBe(3);
    listener()?.checked([
      { index: 5, check: { result: 'same' } },
      { index: 5, check: { result: 'same' } },
    ]);
    expect(words()).toEqual(['5 same']);
    expect(budget.held).toBe(0);
    expect(checks.ignored()).toEqual({ asked: ['/x'], byProtocol: { v2: ['/id', '/model_version'] } });
  });

  test('never queue more than may wait: the rest is unchecked, and its memory is let go', () => {
    const { take, checks, checker } = scene();
    const budget = new KeepingBudget(checks.keeping as NonNullable<typeof checks.keeping>);
    for (let index = 0; index < LIMITS.checkQueue; index += 1) take({ index });
    expect(checker.answers).toHaveLength(LIMITS.checkQueue);
    expect(take({ index: LIMITS.checkQueue }, {}, { kept: kept(budget) })).toBe('unchecked:backlog');
    expect(budget.held).toBe(0);
  });

  test('say of what was not kept why it was not', () => {
    const { take, checks, checker } = scene();
    const budget = new KeepingBudget(checks.keeping as NonNullable<typeof checks.keeping>);
    const dropped = { ...kept(budget), bytes: Buffer.alloc(0), dropped: 'answer_too_large' } as const;
    expect(take({}, {}, { kept: dropped })).toBe('unchecked:answer_too_large');
    expect(checker.answers).toEqual([]);
  });

  test('go on without what a checker took with it when it failed', async () => {
    const { take, checks, words, listener, checker, warnings } = scene();
    take({ index: 1 });
    listener()?.failed(true, 'ERR_WORKER_OUT_OF_MEMORY');
    expect(words()).toEqual(['1 unchecked:checker_failed']);
    take({ index: 2 });
    expect(checker.answers.map(({ index }) => index)).toEqual([1, 2]);
    expect(warnings).toEqual(['ERR_WORKER_OUT_OF_MEMORY']);
    listener()?.failed(false, 'Error');
    expect(take({ index: 3 })).toBe('unchecked:checker_failed');
    await checks.finish();
    expect(words()).toEqual(['1 unchecked:checker_failed', '2 unchecked:checker_failed']);
  });

  test('leave a warm-up alone', () => {
    const { checks, checker } = scene();
    const send = sendOf({ index: 0, status: 500 });
    checks.planned({ index: 0, intendedOffsetNs: 0, row: rowOf(), streams: false, warmup: true });
    expect(checks.take([{} as SendResult], [send])).toEqual([send]);
    expect(checker.answers).toEqual([]);
  });
});
