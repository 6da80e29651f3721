import { pathToFileURL } from 'node:url';
import { describe, expect, it } from 'vitest';
import { LIMITS } from '../../src/core/limits.ts';
import { runProcess } from '../support/process.ts';
import { repositoryRoot } from '../support/shared-data.ts';

const SUPPORT = new URL('test/support/body-redaction.ts', pathToFileURL(`${repositoryRoot}/`)).href;
const FORM = 'application/x-www-form-urlencoded';
const MULTIPART = 'multipart/form-data; boundary=x';

interface HostileForm {
  readonly contentType: string;
  /** What comes before and after what is repeated. */
  readonly around: readonly [string, string];
  readonly repeated: string;
  readonly bytes: number;
}

/** Covers the forms one after the other, as the recorder would; tells of each what became of it. */
const SCRIPT = `
const [module, forms] = process.argv.slice(1);
const { bodyRedaction } = await import(module);
const redaction = bodyRedaction(['/prompt=mask', '/user=hash']);
for (const { contentType, around, repeated, bytes } of JSON.parse(forms)) {
  const body = Buffer.concat([Buffer.from(around[0]), Buffer.alloc(bytes, repeated), Buffer.from(around[1])]);
  const about = { contentType, contentEncoding: null, truncated: false, inferenceHeaderLength: null };
  const { dropped, names } = redaction.redact(body, about);
  console.log(JSON.stringify([repeated, dropped ?? names]));
}`;

const MEGABYTE = 1_000_000;

function hostile(repeated: string, before = 'a=', after = '', bytes = 4 * MEGABYTE): HostileForm {
  return { contentType: FORM, around: [before, after], repeated, bytes };
}

function multipart(repeated: string): HostileForm {
  const head = '--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n';
  return { ...hostile(repeated, head, '\r\n--x--\r\n'), contentType: MULTIPART };
}

/** Covers forms in a process with the recorder's memory. */
async function inRecordersHeap(forms: readonly HostileForm[]) {
  const { status, stdout, stderr } = await runProcess(process.execPath, [
    `--max-old-space-size=${LIMITS.recorderHeapMib}`,
    '--input-type=module',
    '-e',
    SCRIPT,
    SUPPORT,
    JSON.stringify(forms),
  ]);
  const told = stdout
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line));
  return { status, fatal: /^FATAL ERROR.*/m.exec(stderr)?.[0] ?? null, told };
}

describe('a form of megabytes made to kill the recorder', () => {
  it('does not, whatever its one field is made of', async () => {
    const all = await inRecordersHeap([
      hostile('//a@'),
      hostile('//%40'),
      hostile('%61'),
      hostile('a%2F%2F'),
      hostile('%25'),
      hostile('%'),
      hostile(';'),
      hostile('='),
      hostile('k%3Dv%26'),
      hostile('+', 'user='),
      hostile('//a@', '', '=1'),
      hostile('%C4%80', '', '=1'),
      multipart('//a@'),
      multipart('//%40'),
      multipart('k=&'),
    ]);
    expect(all).toEqual({
      status: 0,
      fatal: null,
      told: [
        ['//a@', ['/a']],
        ['//%40', []],
        ['%61', []],
        ['a%2F%2F', []],
        ['%25', []],
        ['%', []],
        [';', []],
        ['=', []],
        ['k%3Dv%26', ['/a']],
        ['+', ['/user']],
        ['//a@', 'bad_form'],
        ['%C4%80', []],
        ['//a@', ['/a']],
        ['//%40', []],
        ['k=&', ['/a']],
      ],
    });
  });

  it('is read to its end where it has no fields, and is not kept where it has too many', async () => {
    const { told } = await inRecordersHeap([hostile('&'), hostile('a=&', ''), hostile('a=;', '')]);
    expect(told).toEqual([
      ['&', []],
      ['a=&', 'too_large'],
      ['a=;', 'too_large'],
    ]);
  });

  it('does not at the largest size that is masked either', async () => {
    const { fatal, told } = await inRecordersHeap([hostile('//%40', 'a=', '', LIMITS.maskedBodyBytes - 2)]);
    expect([fatal, told]).toEqual([null, [['//%40', []]]]);
  });
});
