/** Loaded into a process under test: raises an unexpected error on a signal from the test. */
process.on('SIGUSR2', () => {
  throw new Error('planted');
});
