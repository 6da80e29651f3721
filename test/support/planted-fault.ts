/** To be loaded into a process under test: an error that nothing of ours would raise, on a signal of ours. */
process.on('SIGUSR2', () => {
  throw new Error('planted');
});
