// GraphiQL's dialogs and menus write rules into <style> elements, which the content security policy forbids with good
// reason. The same rules as constructed style sheets are allowed, so this page's scripts get an element that makes one.

class AdoptedStyle extends HTMLElement {
  #sheet = new CSSStyleSheet();

  connectedCallback() {
    this.#sheet.replaceSync(this.textContent);
    document.adoptedStyleSheets = [...document.adoptedStyleSheets, this.#sheet];
  }

  disconnectedCallback() {
    document.adoptedStyleSheets = document.adoptedStyleSheets.filter((sheet) => sheet !== this.#sheet);
  }
}

customElements.define("axonml-style", AdoptedStyle);

const create = document.createElement.bind(document);
document.createElement = (name, options) => create(name === "style" ? "axonml-style" : name, options);
