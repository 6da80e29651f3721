import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { temporaryDirectory } from '../support/temp-dir.ts';

/** A library preloaded before the C library. Every sync to a disk sleeps first, like on a slow disk. */
const SOURCE = `
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>

static int delayed(const char *name, int fd) {
  const char *text = getenv("SLOW_SYNC_MS");
  long ms = text == NULL ? 0 : atol(text);
  struct timespec rest = { ms / 1000, ms % 1000 * 1000000L };
  while (nanosleep(&rest, &rest) != 0) { }
  int (*next)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
  return next(fd);
}

int fsync(int fd) { return delayed("fsync", fd); }
int fdatasync(int fd) { return delayed("fdatasync", fd); }
`;

/** The compiled library; null without a C compiler or preloading. */
function compiled(): string | null {
  const directory = temporaryDirectory();
  const [source, library] = [join(directory, 'slow-sync.c'), join(directory, 'slow-sync.so')];
  writeFileSync(source, SOURCE);
  const { status } = spawnSync('cc', ['-shared', '-fPIC', '-o', library, source, '-ldl']);
  return process.platform === 'linux' && status === 0 ? library : null;
}

const LIBRARY = compiled();
export const canSlowSyncs: boolean = LIBRARY !== null;

/** The environment of a process whose syncs take this long. */
export function slowSyncs(ms: number): Readonly<Record<string, string>> {
  if (LIBRARY === null) throw new Error('no C compiler on this host');
  return { LD_PRELOAD: LIBRARY, SLOW_SYNC_MS: String(ms) };
}
