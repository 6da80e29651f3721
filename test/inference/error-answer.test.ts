import { describe, expect, test } from 'vitest';
import { ErrorAnswerScan } from '../../src/inference/error-answer.ts';

function tells(...pieces: readonly string[]): boolean {
  const scan = new ErrorAnswerScan();
  for (const piece of pieces) scan.write(Buffer.from(piece));
  return scan.finish();
}

describe('an answer with 2xx tells of an error', () => {
  test.each([
    '{"error":{"message":"no GPU"}}',
    ' {"error": "overloaded"}',
    '{"id":1,"error":"overloaded"}',
    '{"errors":["a"]}',
    '{"detail":"Not found"}',
    '{"object":"error","message":"x"}',
    `{"error":"${'x'.repeat(20_000)}"}`,
  ])('%.40s', (text) => {
    expect(tells(text)).toBe(true);
    expect(tells(...text.slice(0, 300), text.slice(300))).toBe(true);
  });

  test.each([
    '',
    '{"outputs":[1,2,3]}',
    '{"error":null,"output":[]}',
    '{"errors":[],"data":1}',
    '{"id":1,"detail":"high"}',
    '{"choices":[{"message":{"content":"\\"error\\": true"}}]}',
    '["error"]',
    'error',
    '{"error":"cut',
    `{"text":"${'x'.repeat(20_000)}","error":"beyond what is held"}`,
  ])('not %.40s', (text) => {
    expect(tells(text)).toBe(false);
  });
});

describe('an answer that comes in one piece', () => {
  test.each([
    ['{"error":"busy"}', true],
    ['{"outputs":[1,2,3]}', false],
    // Named near the start of a long one, near the end of a short one, and beyond what is searched.
    [`{"id":1,"error":"busy","text":"${'x'.repeat(3_000)}"}`, true],
    [`{"id":1,"text":"${'x'.repeat(900)}","error":"busy"}`, true],
    [`{"id":1,"text":"${'x'.repeat(3_000)}","error":"busy"}`, false],
  ])('is judged as it is in many: %.40s', (text, tells) => {
    const whole = new ErrorAnswerScan(text.length);
    whole.write(Buffer.from(text));
    expect(whole.finish()).toBe(tells);
    const cut = new ErrorAnswerScan(text.length);
    cut.write(Buffer.from(text.slice(0, 5)));
    cut.write(Buffer.from(text.slice(5)));
    expect(cut.finish()).toBe(tells);
  });
});
