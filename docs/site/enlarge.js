// A click on a figure shows it as large as the window; a second click, or any key, closes it.
document.addEventListener("click", (event) => {
  const open = document.querySelector("dialog.figure");
  if (open) return open.remove();
  if (!event.target.matches("article img")) return;
  event.preventDefault();
  const dialog = document.createElement("dialog");
  dialog.className = "figure";
  dialog.append(event.target.cloneNode());
  addEventListener("keydown", () => dialog.remove(), { once: true, capture: true });
  document.body.append(dialog);
  dialog.showModal();
});
