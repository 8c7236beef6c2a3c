/** LaTeX names in answers, and the character of each. */

const letters =
  "alpha α beta β gamma γ delta δ epsilon ϵ varepsilon ε zeta ζ eta η theta θ vartheta ϑ iota ι kappa κ lambda λ mu μ nu ν " +
  "xi ξ pi π rho ρ sigma σ tau τ upsilon υ phi ϕ varphi φ chi χ psi ψ omega ω Gamma Γ Delta Δ Theta Θ Lambda Λ Xi Ξ " +
  "Pi Π Sigma Σ Phi Φ Psi Ψ Omega Ω infty ∞ emptyset ∅ varnothing ∅ ell ℓ hbar ℏ partial ∂ nabla ∇ aleph ℵ Re ℜ Im ℑ";

const signs =
  "cdot · times × div ÷ pm ± mp ∓ le ≤ leq ≤ leqslant ≤ ge ≥ geq ≥ geqslant ≥ ne ≠ neq ≠ approx ≈ equiv ≡ sim ∼ cong ≅ " +
  "propto ∝ in ∈ notin ∉ ni ∋ subset ⊂ subseteq ⊆ supset ⊃ supseteq ⊇ cup ∪ cap ∩ setminus ∖ backslash ∖ to → rightarrow → " +
  "longrightarrow ⟶ Rightarrow ⇒ implies ⇒ iff ⇔ Leftrightarrow ⇔ leftarrow ← mapsto ↦ forall ∀ exists ∃ neg ¬ lnot ¬ land ∧ " +
  "wedge ∧ lor ∨ vee ∨ mid ∣ parallel ∥ perp ⊥ angle ∠ triangle △ circ ∘ bullet • star ⋆ ast ∗ oplus ⊕ otimes ⊗ ldots … dots … " +
  "cdots ⋯ vdots ⋮ ddots ⋱ prime ′ degree ° langle ⟨ rangle ⟩ lfloor ⌊ rfloor ⌋ lceil ⌈ rceil ⌉ vert | lvert | rvert | " +
  "Vert ‖ lVert ‖ rVert ‖ lbrace { rbrace } lbrack [ rbrack ] colon : lt < gt > sum ∑ prod ∏ int ∫ oint ∮ bigcup ⋃ bigcap ⋂ " +
  "square □ Box □ blacksquare ■ therefore ∴ because ∵ ll ≪ gg ≫ pounds £ euro € checkmark ✓";

const table = (text) => {
  const words = text.split(" ");
  return new Map(words.filter((_, i) => i % 2 === 0).map((name, i) => [name, words[2 * i + 1]]));
};

export const LETTERS = table(letters);
export const SIGNS = table(signs);

export const FUNCTIONS = new Set(
  "sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh log ln lg exp lim max min sup inf gcd lcm det dim deg mod arg ker".split(" "),
);

/** Commands for spacing or size only. */
export const NOTHING = new Set(
  "left right big Big bigg Bigg bigl bigr Bigl Bigr biggl biggr displaystyle textstyle scriptstyle limits nolimits boxed quad qquad thinspace enspace hfill centering".split(" "),
);

export const SPACES = new Set(["quad", "qquad", "enspace"]);

export const TEXTS = new Set(["text", "mbox", "textrm", "textnormal", "mathrm", "operatorname", "textbf", "textit", "texttt", "mathtt", "mathsf", "rm"]);

export const STYLES = new Map([
  ["mathbf", "bold"], ["boldsymbol", "bold"], ["bm", "bold"], ["mathbb", "double"], ["mathcal", "plain"], ["mathit", "plain"],
  ["mathfrak", "plain"], ["mathscr", "plain"],
]);

export const ACCENTS = new Map([
  ["overline", "‾"], ["bar", "‾"], ["hat", "^"], ["widehat", "^"], ["vec", "→"], ["overrightarrow", "→"], ["tilde", "~"],
  ["dot", "˙"], ["ddot", "¨"], ["overarc", "⌢"],
]);

export const FENCES = new Map([
  ["matrix", ["", ""]], ["pmatrix", ["(", ")"]], ["bmatrix", ["[", "]"]], ["Bmatrix", ["{", "}"]], ["vmatrix", ["|", "|"]],
  ["Vmatrix", ["‖", "‖"]], ["smallmatrix", ["", ""]], ["cases", ["{", ""]], ["array", ["", ""]], ["aligned", ["", ""]],
  ["align", ["", ""]], ["align*", ["", ""]], ["split", ["", ""]], ["gathered", ["", ""]],
]);

export const DOUBLE = new Map([..."CNQRZPHEF"].map((char, i) => [char, [..."ℂℕℚℝℤℙℍ𝔼𝔽"][i]]));
