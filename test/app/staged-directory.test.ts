import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { StagedDirectory } from '../../src/app/staged-output.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

function place(): { parent: string; out: string } {
  const parent = temporaryDirectory();
  return { parent, out: join(parent, 'out') };
}

describe('a staged directory', () => {
  test('is built beside its place, private, and takes the place whole', () => {
    const { parent, out } = place();
    const staged = new StagedDirectory(out, 'importing');
    expect(basename(staged.path)).toMatch(/^out\.importing-[0-9a-f]{8}$/);
    expect(statSync(staged.path).mode & 0o777).toBe(0o700);
    writeFileSync(join(staged.path, 'a'), 'content');
    expect(existsSync(out)).toBe(false);
    staged.publish();
    expect(readdirSync(parent)).toEqual(['out']);
    expect(readFileSync(join(out, 'a'), 'utf8')).toBe('content');
  });

  test('leaves nothing when it is discarded', () => {
    const { parent, out } = place();
    const staged = new StagedDirectory(out, 'importing');
    writeFileSync(join(staged.path, 'a'), 'content');
    staged.discard();
    expect(readdirSync(parent)).toEqual([]);
  });

  test('may take the place of an empty directory, by a link too', () => {
    const { parent, out } = place();
    mkdirSync(join(parent, 'real'));
    symlinkSync(join(parent, 'real'), out);
    const staged = new StagedDirectory(out, 'importing');
    writeFileSync(join(staged.path, 'a'), 'content');
    staged.publish();
    expect(readdirSync(join(parent, 'real'))).toEqual(['a']);
    expect(readdirSync(parent).sort()).toEqual(['out', 'real']);
  });

  test('refuses a place that is taken, or was taken meanwhile', () => {
    const { parent, out } = place();
    const staged = new StagedDirectory(out, 'importing');
    mkdirSync(out);
    writeFileSync(join(out, 'theirs'), '');
    expect(() => staged.publish()).toThrow('is not empty');
    expect(() => new StagedDirectory(out, 'importing')).toThrow('is not empty');
    expect(() => new StagedDirectory(join(out, 'theirs'), 'importing')).toThrow('is a file');
    staged.discard();
    expect(readdirSync(parent)).toEqual(['out']);
    expect(readdirSync(out)).toEqual(['theirs']);
  });

  test('makes the directories above its place, private, as record and replay do', () => {
    const { parent } = place();
    const staged = new StagedDirectory(join(parent, 'captures', 'today', 'out'), 'importing');
    writeFileSync(join(staged.path, 'a'), 'content');
    staged.publish();
    expect(readdirSync(join(parent, 'captures', 'today'))).toEqual(['out']);
    expect(statSync(join(parent, 'captures')).mode & 0o777).toBe(0o700);
  });

  test('takes the directories it made away again, except those that somebody uses by now', () => {
    const { parent } = place();
    const staged = new StagedDirectory(join(parent, 'captures', 'today', 'out'), 'importing');
    writeFileSync(join(parent, 'captures', 'theirs'), '');
    staged.discard();
    expect(readdirSync(join(parent, 'captures'))).toEqual(['theirs']);
    new StagedDirectory(join(parent, 'runs', 'today', 'out'), 'importing').discard();
    expect(readdirSync(parent)).toEqual(['captures']);
  });

  test('refuses a place below a file, or whose name is too long, and makes nothing', () => {
    const { parent } = place();
    writeFileSync(join(parent, 'file'), '');
    const code = (path: string): unknown => {
      try {
        return new StagedDirectory(path, 'importing');
      } catch (thrown) {
        return (thrown as { code?: unknown }).code;
      }
    };
    expect(code(join(parent, 'none', 'x'.repeat(300), 'out'))).toBe('OUTPUT_UNWRITABLE');
    expect(code(join(parent, 'none', 'x'.repeat(250)))).toBe('OUTPUT_UNWRITABLE');
    expect(code(join(parent, 'file', 'out'))).toBe('OUTPUT_UNWRITABLE');
    expect(readdirSync(parent)).toEqual(['file']);
  });
});
