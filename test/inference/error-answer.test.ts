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
