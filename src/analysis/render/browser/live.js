// Runs in the browser: requests the page each second and updates the parts that changed.
const ask = async () => {
  try {
    const answer = await fetch('/', { cache: 'no-store' });
    const text = await answer.text();
    if (!text.includes('<main data-live')) {
      // The live page has ended. Load the page that follows it.
      location.reload();
      return;
    }
    takeOver(new DOMParser().parseFromString(text, 'text/html').querySelector('main'));
  } catch (error) {
    document.querySelector('main').dataset.state = 'GONE';
    document.querySelector('[data-field="state"]').textContent = 'no answer';
    document.querySelector('[data-field="why"]').textContent = String(error.message ?? error);
  }
  setTimeout(ask, 1000);
};
/** Replaces only changed fields, so that selected text and scrolled tables stay as they are. */
const takeOver = (next) => {
  const main = document.querySelector('main');
  const fields = (of) => [...of.querySelectorAll('[data-field]')];
  const keys = (of) => fields(of).map((each) => each.dataset.field);
  if (String(keys(main)) !== String(keys(next))) main.replaceChildren(...next.childNodes);
  else {
    const news = fields(next);
    for (const [at, field] of fields(main).entries()) {
      if (field.outerHTML !== news[at].outerHTML) field.replaceWith(news[at]);
    }
  }
  main.dataset.state = next.dataset.state;
};
setTimeout(ask, 1000);
