import { spawnSync } from 'node:child_process';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { temporaryDirectory } from '../support/temp-dir.ts';

/**
 * A library preloaded before the C library. Below some paths every write fails with EROFS, as on a disk that was
 * remounted read-only: always, or while a file exists. Or it waits for as long as that file exists.
 */
const SOURCE = `
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static int below(const char *path, const char *list) {
  if (list == NULL || path == NULL) return 0;
  size_t length = strlen(list);
  return length > 0 && strncmp(path, list, length) == 0;
}

static int refused(const char *path) {
  const char *flag = getenv("REFUSE_WHILE");
  if (below(path, getenv("REFUSE_ALWAYS")) || below(path, getenv("REFUSE_ALWAYS_TOO"))) return 1;
  if (flag == NULL || !below(path, getenv("REFUSE_BELOW")) || access(flag, F_OK) != 0) return 0;
  if (getenv("REFUSE_BY_WAITING") == NULL) return 1;
  while (access(flag, F_OK) == 0) usleep(20000);
  return 0;
}

static int refusedFile(int fd) {
  char link[64], path[PATH_MAX];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, sizeof path - 1);
  if (length < 0) return 0;
  path[length] = 0;
  return refused(path);
}

#define NEXT(type, name) ((type)dlsym(RTLD_NEXT, name))
#define REFUSE(condition) if (condition) { errno = EROFS; return -1; }

ssize_t write(int fd, const void *b, size_t n) { REFUSE(refusedFile(fd)); return NEXT(ssize_t (*)(int, const void *, size_t), "write")(fd, b, n); }
ssize_t pwrite(int fd, const void *b, size_t n, off_t o) { REFUSE(refusedFile(fd)); return NEXT(ssize_t (*)(int, const void *, size_t, off_t), "pwrite")(fd, b, n, o); }
ssize_t pwrite64(int fd, const void *b, size_t n, off64_t o) { REFUSE(refusedFile(fd)); return NEXT(ssize_t (*)(int, const void *, size_t, off64_t), "pwrite64")(fd, b, n, o); }
ssize_t writev(int fd, const struct iovec *v, int n) { REFUSE(refusedFile(fd)); return NEXT(ssize_t (*)(int, const struct iovec *, int), "writev")(fd, v, n); }
ssize_t pwritev(int fd, const struct iovec *v, int n, off_t o) { REFUSE(refusedFile(fd)); return NEXT(ssize_t (*)(int, const struct iovec *, int, off_t), "pwritev")(fd, v, n, o); }
ssize_t pwritev64(int fd, const struct iovec *v, int n, off64_t o) { REFUSE(refusedFile(fd)); return NEXT(ssize_t (*)(int, const struct iovec *, int, off64_t), "pwritev64")(fd, v, n, o); }
int rename(const char *a, const char *b) { REFUSE(refused(b)); return NEXT(int (*)(const char *, const char *), "rename")(a, b); }
int unlink(const char *a) { REFUSE(refused(a)); return NEXT(int (*)(const char *), "unlink")(a); }
int mkdir(const char *a, mode_t m) { REFUSE(refused(a)); return NEXT(int (*)(const char *, mode_t), "mkdir")(a, m); }

#define OPENING(name) int name(const char *path, int flags, ...) { \\
  va_list rest; va_start(rest, flags); mode_t mode = va_arg(rest, mode_t); va_end(rest); \\
  REFUSE((flags & (O_WRONLY | O_RDWR | O_CREAT)) != 0 && refused(path)); \\
  return NEXT(int (*)(const char *, int, mode_t), #name)(path, flags, mode); }
OPENING(open)
OPENING(open64)
`;

/** The compiled library; null without a C compiler or preloading. */
function compiled(): string | null {
  const directory = temporaryDirectory();
  const [source, library] = [join(directory, 'refused.c'), join(directory, 'refused.so')];
  writeFileSync(source, SOURCE);
  const { status } = spawnSync('cc', ['-shared', '-fPIC', '-w', '-o', library, source, '-ldl']);
  return process.platform === 'linux' && status === 0 ? library : null;
}

const LIBRARY = compiled();
export const canRefuseWrites: boolean = LIBRARY !== null;

/** A disk below a path that can be made read-only for the processes with its environment. */
export class RefusingDisk {
  readonly env: Readonly<Record<string, string>>;
  readonly #flag = join(temporaryDirectory(), 'read-only');

  /**
   * @param always two paths that never take a write
   * @param hangs whether a read-only disk lets writes wait
   */
  constructor(below: string, always: readonly [string, string] = ['', ''], hangs = false) {
    if (LIBRARY === null) throw new Error('no C compiler on this host');
    this.env = {
      LD_PRELOAD: LIBRARY,
      REFUSE_BELOW: below,
      REFUSE_WHILE: this.#flag,
      ...(hangs && { REFUSE_BY_WAITING: '1' }),
      REFUSE_ALWAYS: always[0],
      REFUSE_ALWAYS_TOO: always[1],
    };
  }

  makeReadOnly(): void {
    writeFileSync(this.#flag, '');
  }

  mend(): void {
    rmSync(this.#flag, { force: true });
  }
}
