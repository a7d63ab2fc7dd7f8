// Fingers on the transcript: a swipe answers a message, a tap or a long press shows what can be done with it.

/** So far, in pixels, a finger goes for a swipe; and so long, in milliseconds, it stays for a long press. */
const SWIPE = 64;
const LONG_PRESS = 500;
const STILL = 10;

export function watchGestures(log, transcript, answer) {
  let start = null;
  let timer = 0;
  const activate = (line) => {
    log.querySelector('.message.active')?.classList.remove('active');
    line?.classList.add('active');
  };
  const end = () => {
    clearTimeout(timer);
    start?.line.style.removeProperty('translate');
    start = null;
  };
  log.addEventListener('touchstart', (event) => {
    end();
    const line = event.target.closest('.message');
    if (line && event.touches.length === 1) {
      const { clientX: x, clientY: y } = event.touches[0];
      start = { line, x, y };
      timer = setTimeout(() => activate(line), LONG_PRESS);
    }
  }, { passive: true });
  log.addEventListener('touchmove', (event) => {
    if (!start) {
      return;
    }
    const [dx, dy] = [event.touches[0].clientX - start.x, event.touches[0].clientY - start.y];
    if (Math.abs(dx) + Math.abs(dy) > STILL) {
      clearTimeout(timer);
    }
    if (Math.abs(dy) > Math.abs(dx)) {
      end();
    } else {
      start.line.style.translate = `${Math.max(-SWIPE, Math.min(SWIPE, dx))}px`;
      start.swiped = Math.abs(dx) >= SWIPE;
    }
  }, { passive: true });
  log.addEventListener('touchend', () => {
    const message = start?.swiped && transcript.messageOf(start.line);
    end();
    if (message) {
      answer(message);
    }
  });
  log.addEventListener('touchcancel', end);
  log.addEventListener('click', (event) => {
    const line = event.target.closest('.message');
    if (matchMedia('(hover: none)').matches && !event.target.closest('button, a, .quick')) {
      const open = line?.classList.contains('active');
      activate(open ? null : line);
    }
  });
}
