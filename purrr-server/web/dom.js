// Elements, found and made. Nothing here or elsewhere makes markup of a stranger's words.

export function byId(id) {
  return document.getElementById(id);
}

/** Returns a new element with these properties, and these children inside. */
export function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

/** Returns a button that does this when it is pressed. */
export function button(properties, press) {
  const made = element('button', { type: 'button', ...properties });
  made.addEventListener('click', press);
  return made;
}
